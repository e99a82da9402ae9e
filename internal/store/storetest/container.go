package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
	"github.com/testcontainers/testcontainers-go/wait"
)

const (
	defaultImage = "postgres:17-alpine"
	dataFolder   = "/var/lib/postgresql/data"

	engineLimit = 3 * time.Second // to answer at all
	pullLimit   = 3 * time.Minute
	startLimit  = time.Minute
)

// whileAttached runs Postgres until standard input ends, and the container with
// it. Input ends with the process that holds it, however that one dies: so no
// container is left behind, and no second one has to watch over it.
const whileAttached = `docker-entrypoint.sh "$@" & cat >/dev/null`

// startContainer runs Postgres on the Docker engine, with its data in memory.
func (s *Server) startContainer() (stop func(), err error) {
	prepareTestcontainers()
	ctx, cancel := context.WithTimeout(context.Background(), engineLimit)
	defer cancel()
	engine, err := testcontainers.NewDockerProvider()
	if err != nil {
		return nil, fmt.Errorf("docker engine: %w", err)
	}
	defer func() { _ = engine.Close() }()
	image := os.Getenv("POSTGRES_IMAGE")
	if image == "" {
		image = defaultImage
	}
	_, err = engine.Client().ImageInspect(ctx, image)
	if ctx.Err() == nil && err != nil {
		err = pull(engine.Client(), image)
	}
	if err != nil {
		return nil, fmt.Errorf("docker image %s: %w", image, err)
	}
	return s.runImage(engine.Client(), image)
}

// prepareTestcontainers sets what it reads from the environment, once, at its
// first call. Its reaper is not needed, see whileAttached.
func prepareTestcontainers() {
	log.SetDefault(log.NewNoopLogger())
	_ = os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	_, chosen := os.LookupEnv("TESTCONTAINERS_HOST_OVERRIDE")
	if !chosen && !strings.HasPrefix(os.Getenv("DOCKER_HOST"), "tcp:") {
		// It would take this machine for a container of the engine's if there is a /.dockerenv.
		_ = os.Setenv("TESTCONTAINERS_HOST_OVERRIDE", "127.0.0.1")
	}
}

// pull tries once. testcontainers would try again for a quarter of an hour.
func pull(engine client.APIClient, image string) error {
	ctx, cancel := context.WithTimeout(context.Background(), pullLimit)
	defer cancel()
	progress, err := engine.ImagePull(ctx, image, client.ImagePullOptions{})
	if err != nil {
		return err
	}
	return errors.Join(progress.Wait(ctx), progress.Close())
}

func (s *Server) runImage(engine client.APIClient, image string) (stop func(), err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	password := randomName()
	command := []string{"sh", "postgres"}
	for name, value := range settings() {
		command = append(command, "-c", name+"="+value)
	}
	var held client.ContainerAttachResult
	c, err := testcontainers.Run(ctx, image,
		testcontainers.WithEntrypoint("sh", "-c", whileAttached),
		testcontainers.WithCmd(command...),
		testcontainers.WithEnv(map[string]string{"POSTGRES_PASSWORD": password, "PGDATA": dataFolder}),
		testcontainers.WithTmpfs(map[string]string{dataFolder: "rw"}),
		testcontainers.WithExposedPorts("5432/tcp"),
		testcontainers.WithConfigModifier(func(c *container.Config) { c.OpenStdin, c.StdinOnce = true, true }),
		testcontainers.WithHostConfigModifier(func(c *container.HostConfig) { c.AutoRemove = true }),
		testcontainers.WithAdditionalLifecycleHooks(testcontainers.ContainerLifecycleHooks{
			PostStarts: []testcontainers.ContainerHook{func(ctx context.Context, c testcontainers.Container) (err error) {
				held, err = engine.ContainerAttach(ctx, c.GetContainerID(), client.ContainerAttachOptions{Stream: true, Stdin: true})
				return err
			}},
		}),
		// The first time it is ready for its own set-up only.
		testcontainers.WithWaitStrategyAndDeadline(startLimit,
			wait.ForLog("database system is ready to accept connections").WithOccurrence(2)),
	)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("run %s: %w", image, err), testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0)))
	}
	host, err := c.PortEndpoint(ctx, "5432/tcp", "")
	if err != nil {
		return nil, errors.Join(err, testcontainers.TerminateContainer(c, testcontainers.StopTimeout(0)))
	}
	s.admin = "postgres://postgres:" + password + "@" + host + "/postgres?sslmode=disable"
	return func() { letGo(held.Conn) }, nil
}

// letGo ends the container, and waits until the engine has seen it.
func letGo(held net.Conn) {
	if half, ok := held.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		_ = held.SetReadDeadline(time.Now().Add(engineLimit)) // it fails on closed connections only
		_, _ = io.Copy(io.Discard, held)
	}
	held.Close()
}
