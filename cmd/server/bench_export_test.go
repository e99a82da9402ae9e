package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// largerRowsSQL gives every row answers of about 400 bytes and ids as Kapso
// sends them.
const largerRowsSQL = `
UPDATE flow_responses SET conversation_id = gen_random_uuid()::text, idempotency_key = gen_random_uuid()::text,
	phone_number_id = '106540352242922', context_message_id = message_id || '_sent',
	response = response || jsonb_build_object('services', jsonb_build_array('cleaning', 'whitening'),
		'notes', 'Please call before you come, the bell does not work. ' || repeat('"olá" ', 25))`

// BenchmarkExport measures "flowkeep export", a process of its own, on a table of
// -fill rows: rows a second, and its memory on a tenth of them and on all.
func BenchmarkExport(b *testing.B) {
	pg := startFillPostgres(b)
	fillRows(b, pg, *benchFill)
	pg.exec(b, largerRowsSQL)
	pg.exec(b, "VACUUM (FULL, ANALYZE) flow_responses")
	pg.checkpoint(b)
	var bytes float64
	if err := pg.admin.QueryRow(b.Context(), "SELECT avg(length(response::text)) FROM flow_responses TABLESAMPLE SYSTEM (10)").Scan(&bytes); err != nil {
		b.Fatal(err)
	}
	fmt.Fprintf(os.Stdout, "\n%d rows, answers of %.0f bytes.\n\n| export | rows | rows/s | peak MiB |\n|---|---:|---:|---:|\n", *benchFill, bytes)
	// The rows lie evenly in 120 days, the last of them today.
	tenth := time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -12).Format(time.DateOnly)
	for _, args := range [][]string{
		{"--format", "ndjson", "--since", tenth},
		{"--format", "ndjson"},
		{"--format", "csv"},
	} {
		rows, took, peak := runExport(b, pg.url, args)
		fmt.Fprintf(os.Stdout, "| %s | %d | %.0f | %.1f |\n", args[1], rows, float64(rows)/took.Seconds(), float64(peak)/(1<<20))
		if len(args) == 2 {
			b.ReportMetric(float64(rows)/took.Seconds(), args[1]+"-rows/s")
		}
	}
	b.ReportMetric(0, "ns/op")
}

// runExport reads the export to its end.
func runExport(b *testing.B, url string, args []string) (rows int64, took time.Duration, peak int64) {
	b.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"export"}, args...)...)
	cmd.Env = []string{beFlowkeep + "=1", "DATABASE_URL=" + url, "FLOWKEEP_DATA_DIR=" + b.TempDir()}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	chunk := make([]byte, 1<<20)
	for {
		n, err := out.Read(chunk)
		for _, c := range chunk[:n] {
			if c == '\n' { // no answer of these rows holds one
				rows++
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if procKnown {
			peak = memoryOf(b, cmd.Process.Pid).peak
		}
	}
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return rows, time.Since(start), peak
}
