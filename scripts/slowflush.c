/* Preloaded into Postgres, it makes every flush of the write-ahead log take
 * SLOWFLUSH_US microseconds longer, as on a slow disk. On Linux Postgres
 * flushes that log with fdatasync (wal_sync_method) and data files with fsync,
 * which stays as it is. "make bench" compiles and uses this.
 *
 *     cc -shared -fPIC -O2 -o slowflush.so slowflush.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

int fdatasync(int fd)
{
	static int (*real)(int);
	static long delay = -1;

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	if (delay < 0) {
		const char *us = getenv("SLOWFLUSH_US");
		delay = us ? atol(us) : 5000;
	}
	struct timespec left = {delay / 1000000, delay % 1000000 * 1000};
	while (nanosleep(&left, &left) == -1 && errno == EINTR)
		; /* Postgres is signalled often; the disk would not be quicker for it */
	return real(fd);
}
