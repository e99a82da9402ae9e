package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"flowkeep/internal/kapso"
	"flowkeep/internal/simulate"
	"flowkeep/internal/store/sends"
)

// How long the simulated Kapso takes until the first status, so that the send is
// settled by then, and a simulated person until the answer.
const (
	loopPause = 500 * time.Millisecond
	loopThink = 200 * time.Millisecond
)

// What the loop sends, and from where: the flow and the number of the page.
const (
	loopFlow   = "1197715005513101"
	loopNumber = "647015955153740"
)

// loop is the whole circle on one machine: sends to a simulated Kapso, which
// posts back what a person's phone would cause.
type loop struct {
	program
	traffic simulate.Config // where events go, and how many flows are sent
	listen  string          // play Kapso here, and send nothing
	fail    string
}

func (l *loop) run(ctx context.Context) error {
	fail, err := simulate.ParseFailures(l.fail)
	if err != nil {
		return fmt.Errorf("%w: --fail: %w", errUsage, err)
	}
	cfg, err := readConfig(l.environ)
	if err != nil {
		return err
	}
	fake, err := simulate.NewKapso(simulate.KapsoConfig{
		Webhook: l.traffic.URL, Secret: l.traffic.Secret, Pause: loopPause, Think: loopThink, Retry: l.traffic.Retry, Fail: fail,
	})
	if err != nil {
		return err
	}
	address, stop, err := playKapso(ctx, fake, cmp.Or(l.listen, "127.0.0.1:0"))
	if err != nil {
		return err
	}
	defer stop()
	if l.listen != "" {
		fmt.Fprintf(l.stdout, "This is Kapso, simulated. Send to it with\n\n    KAPSO_BASE_URL=%s KAPSO_API_KEY=any flowkeep send flow …\n\n", address)
		<-ctx.Done()
		printLoop(l.stdout, fake.Report())
		return nil
	}
	cfg.KapsoBaseURL, cfg.KapsoAPIKey = address, "simulated"
	return l.sendAll(ctx, cfg, fake)
}

// playKapso serves until stop. It takes any API key.
func playKapso(ctx context.Context, fake *simulate.Kapso, listen string) (address string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", listen)
	if err != nil {
		return "", nil, fmt.Errorf("listen as Kapso: %w", err)
	}
	server := &http.Server{Handler: fake, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) }) // it ends by Close alone
	running.Go(func() { fake.Run(ctx) })
	return "http://" + listener.Addr().String() + simulate.KapsoPath, func() {
		cancel()
		_ = server.Close()
		running.Wait()
	}, nil
}

// sendAll sends by the same path as "flowkeep send", and waits for the answers.
func (l *loop) sendAll(ctx context.Context, cfg config, fake *simulate.Kapso) error {
	client, err := kapso.New(cfg.KapsoBaseURL, cfg.KapsoAPIKey)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := createLoopTemplate(ctx, client); err != nil {
		return err
	}
	failed := map[string]int{}
	err = withRegister(ctx, cfg, func(reg *sends.Register) error {
		wamids, err := l.sendEach(ctx, reg, client, failed)
		err = errors.Join(err, fake.Wait(ctx))
		printLoop(l.stdout, fake.Report())
		if err != nil {
			return err
		}
		return printCircle(ctx, l.stdout, reg, wamids)
	})
	for _, why := range slices.Sorted(maps.Keys(failed)) {
		fmt.Fprintf(l.stdout, "%d failed: %s\n", failed[why], why)
	}
	if len(failed) > 0 && l.fail == "" {
		err = errors.Join(err, errors.New("not every flow was sent"))
	}
	if givenUp := fake.Report().GivenUp; err == nil && givenUp > 0 {
		err = fmt.Errorf("%d events were not answered with 200: does flowkeep listen at %s?", givenUp, l.traffic.URL)
	}
	return err
}

// sendEach sends all flows, counts in failed why some were not sent, and returns
// the messages of the others.
func (l *loop) sendEach(ctx context.Context, reg register, client *kapso.Client, failed map[string]int) (wamids []string, err error) {
	for n := 1; n <= l.traffic.Count; n++ {
		r, m, err := loopMessage(n)
		if err != nil {
			return wamids, err
		}
		wamid, err := sendRegistered(ctx, reg, client, r, m)
		_, refused := errors.AsType[*kapso.Error](err)
		switch {
		case err == nil:
			wamids = append(wamids, wamid)
		case refused, errors.Is(err, kapso.ErrInDoubt):
			failed[kapso.Reason(err)]++
		default:
			return wamids, err
		}
	}
	return wamids, nil
}

// printCircle prints what told the flow of the answers to these messages, and
// the funnel of the flow, former loops included.
func printCircle(ctx context.Context, w io.Writer, reg *sends.Register, wamids []string) error {
	linked, err := reg.Linked(ctx, wamids)
	if err != nil {
		return err
	}
	for _, l := range linked {
		fmt.Fprintf(w, "linked    %d by %s\n", l.Answers, l.Source)
	}
	funnels, err := reg.Funnels(ctx)
	if err != nil {
		return err
	}
	for i := range funnels {
		if funnels[i].FlowID == loopFlow {
			fmt.Fprint(w, "funnel  ")
			printFunnel(w, &funnels[i])
		}
	}
	return nil
}

func printLoop(w io.Writer, r simulate.KapsoReport) {
	fmt.Fprintf(w, "sent      %d flows, %d calls refused\n", r.Messages, r.Refused)
	fmt.Fprintf(w, "posted    %d statuses, %d answers, %d given up\n", r.Statuses, r.Answers, r.GivenUp)
	fmt.Fprintf(w, "answered  %d stored, %d duplicate, %d ignored, %d quarantined, %d spooled\n",
		r.Items.Stored, r.Items.Duplicate, r.Items.Ignored, r.Items.Quarantined, r.Items.Spooled)
}

// createLoopTemplate makes the template that a third of the sends use.
func createLoopTemplate(ctx context.Context, client *kapso.Client) error {
	components, err := kapso.FlowTemplate("Ready to book your appointment?", kapso.Button{
		Text: "Book now", FlowID: loopFlow, FlowAction: "navigate", NavigateScreen: "BOOKING",
	})
	if err != nil {
		return err
	}
	r, err := kapso.NewTemplate{
		BusinessAccountID: "123456789", Name: "booking_flow", Language: "en_US", Category: "UTILITY", Components: components,
	}.Request()
	if err == nil {
		_, err = client.CreateTemplate(ctx, r)
	}
	return err
}

// loopMessage is send number n: by turns without a token, with one, and by the
// template.
func loopMessage(n int) (kapso.Request, sends.Send, error) {
	m := sends.Send{
		FlowID: loopFlow, Kind: sends.KindInteractive, PhoneNumberID: loopNumber,
		Recipient: fmt.Sprintf("1%d55501%02d", 201+n/100%789, n%100), // 555-0100 to 555-0199 belong to nobody
		Context:   fmt.Appendf(nil, `{"order":%d}`, n),
	}
	target := kapso.Target{PhoneNumberID: m.PhoneNumberID, To: m.Recipient}
	if n%3 != 0 {
		if n%3 == 2 {
			m.FlowToken = fmt.Sprintf("order-%d", n)
		}
		r, err := kapso.FlowMessage{Target: target, BodyText: "Book your appointment", Parameters: kapso.Parameters{
			FlowID: loopFlow, FlowCTA: "Book now", FlowToken: m.FlowToken, FlowAction: "navigate",
			FlowActionPayload: &kapso.ActionPayload{Screen: "BOOKING", Data: json.RawMessage(`{"available_dates":["2026-01-15","2026-01-16"]}`)},
		}}.Request()
		return r, m, err
	}
	m.Kind, m.Template, m.FlowToken = sends.KindTemplate, "booking_flow", fmt.Sprintf("user_%d_booking", n)
	button, err := kapso.FlowButton("0", m.FlowToken, nil)
	if err != nil {
		return kapso.Request{}, m, err
	}
	r, err := kapso.TemplateMessage{Target: target, Template: kapso.Template{
		Name: m.Template, Language: kapso.Language{Code: "en_US"}, Components: []kapso.Component{button},
	}}.Request()
	return r, m, err
}
