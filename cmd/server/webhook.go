package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"flowkeep/internal/kapso"
)

const webhookUsage = `Usage: flowkeep webhook check|create|resume|test --phone-number-id ID [--url URL]

  check   look at the webhook and at how its last deliveries ended; changes nothing
  create  make the webhook for --url, or set it right, with the first KAPSO_WEBHOOK_SECRET
  resume  set a paused webhook active again
  test    send a signed probe to the webhook's URL, and have Kapso send a test delivery

It needs KAPSO_API_KEY. The exit code is 1 if a problem was found.

`

// errFindings says that the findings hold problems.
var errFindings = errors.New("there are problems; see above")

// doctor looks after the webhook of one number.
type doctor struct {
	program
	number  string
	url     string // of the webhook, as Kapso has it or shall have it
	server  string // where this flowkeep can be asked for its metrics
	json    bool
	secrets []string
	client  *kapso.Client

	problems bool
}

// webhookDoctor checks the webhook at Kapso, or sets it right.
func webhookDoctor(ctx context.Context, p program, args []string) error {
	d := &doctor{program: p}
	work, ok := map[string]func(context.Context) error{
		"check": d.check, "create": d.create, "resume": d.resume, "test": d.test,
	}[first(args)]
	flags := flag.NewFlagSet("webhook", flag.ContinueOnError)
	flags.Usage = func() {
		fmt.Fprint(p.stderr, webhookUsage)
		flags.PrintDefaults()
	}
	flags.StringVar(&d.number, "phone-number-id", "", "Meta's id of the business number")
	flags.StringVar(&d.url, "url", "", "the webhook's public address (default: the number's only webhook that ends in /webhooks/kapso or /webhooks/meta)")
	flags.StringVar(&d.server, "server", "", "test: where the server's /metrics is (default: this machine, at FLOWKEEP_METRICS_ADDR or FLOWKEEP_ADDR)")
	flags.BoolVar(&d.json, "json", false, "one JSON object a line")
	if !ok {
		args = append([]string{""}, args...) // so that -h is found
	}
	if err := parseFlags(p, flags, args[1:], 0); err != nil {
		return err
	}
	switch {
	case !ok:
		return fmt.Errorf("%w: say check, create, resume or test", errUsage)
	case d.number == "":
		return fmt.Errorf("%w: say --phone-number-id", errUsage)
	case d.url != "" && !isWebhookURL(d.url), d.url == "" && first(args) == "create":
		return fmt.Errorf("%w: --url must be the webhook's full address, such as https://your-host/webhooks/kapso", errUsage)
	}
	if err := d.open(); err != nil {
		return err
	}
	defer d.client.Close()
	if err := work(ctx); err != nil {
		return err
	}
	if d.problems {
		return errFindings
	}
	return nil
}

func isWebhookURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && strings.Trim(u.Path, "/") != ""
}

// open reads the configuration of the server that shares our environment.
func (d *doctor) open() error {
	cfg, err := readConfig(d.environ)
	if err != nil {
		return err
	}
	if d.secrets, err = knownSecrets(cfg); err != nil {
		return err
	}
	if d.server == "" {
		addr := cfg.Addr
		if cfg.MetricsAddr != "" {
			addr = cfg.MetricsAddr
		}
		if d.server, err = localURL(addr); err != nil {
			return err
		}
	}
	d.client, err = newKapso(cfg)
	return err
}

// finding is one line of the examination.
type finding struct {
	Check   string `json:"check"`
	Problem bool   `json:"problem"`
	Text    string `json:"text"`           // what is so
	ToDo    string `json:"todo,omitempty"` // what to do about it
}

func (d *doctor) say(f finding) error {
	d.problems = d.problems || f.Problem
	if d.json {
		return json.NewEncoder(d.stdout).Encode(f)
	}
	word, todo := "ok", ""
	if f.Problem {
		word = "PROBLEM"
	}
	if f.ToDo != "" {
		todo = " -> " + f.ToDo
	}
	_, err := fmt.Fprintf(d.stdout, "%-8s %-12s %s%s\n", word, f.Check, f.Text, todo)
	return err
}

func (d *doctor) sayAll(list []finding) error {
	for _, f := range list {
		if err := d.say(f); err != nil {
			return err
		}
	}
	return nil
}

// find returns the number's webhook that is meant. Without one, it says so and
// returns nil.
func (d *doctor) find(ctx context.Context) (*kapso.Webhook, error) {
	list, err := d.client.Webhooks(ctx, d.number)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(w kapso.Webhook) bool { return !d.meant(w.URL) })
	switch len(list) {
	case 1:
		return &list[0], nil
	case 0:
		return nil, d.say(finding{Check: "webhook", Problem: true, Text: "the number has no webhook that points here", ToDo: "flowkeep webhook create --url https://your-host/webhooks/kapso"})
	}
	return nil, d.say(finding{Check: "webhook", Problem: true, Text: fmt.Sprintf("the number has %d webhooks that may point here", len(list)), ToDo: "say which: --url"})
}

func (d *doctor) meant(address string) bool {
	if d.url != "" {
		return strings.TrimSuffix(address, "/") == strings.TrimSuffix(d.url, "/")
	}
	u, err := url.Parse(address)
	return err == nil && (strings.HasSuffix(u.Path, "/webhooks/kapso") || strings.HasSuffix(u.Path, "/webhooks/meta"))
}

// check says how the webhook is set and how its last deliveries ended.
func (d *doctor) check(ctx context.Context) error {
	w, err := d.find(ctx)
	if err != nil || w == nil {
		return err
	}
	if err := d.sayAll(examine(w, d.secrets)); err != nil {
		return err
	}
	attempts, err := d.client.Attempts(ctx, w.ID)
	if err != nil {
		return err
	}
	return d.sayAll(judgeAttempts(attempts))
}

// create makes the webhook, or sets right the one that has the URL.
func (d *doctor) create(ctx context.Context) error {
	if len(d.secrets) == 0 {
		return errors.New("there is no secret: set KAPSO_WEBHOOK_SECRET, or FLOWKEEP_DATA_DIR, as the server has them")
	}
	list, err := d.client.Webhooks(ctx, d.number)
	if err != nil {
		return err
	}
	right := rightWebhook(d.url, d.secrets[0])
	i := slices.IndexFunc(list, func(w kapso.Webhook) bool { return d.meant(w.URL) })
	if i < 0 {
		if err := d.client.CreateWebhook(ctx, d.number, right); err != nil {
			return err
		}
		return d.say(finding{Check: "webhook", Text: "created: " + d.url})
	}
	change, changes := correction(&list[i], right)
	if err := d.client.UpdateWebhook(ctx, d.number, list[i].ID, change); err != nil {
		return err
	}
	return d.say(finding{Check: "webhook", Text: "was there, and is set right: " + strings.Join(changes, ", ")})
}

// resume sets a paused webhook active.
func (d *doctor) resume(ctx context.Context) error {
	w, err := d.find(ctx)
	if err != nil || w == nil {
		return err
	}
	if w.Active != nil && *w.Active {
		return d.say(finding{Check: "active", Text: "it was active already; nothing is changed"})
	}
	active := true
	if err := d.client.UpdateWebhook(ctx, d.number, w.ID, kapso.WebhookChange{Active: &active}); err != nil {
		return err
	}
	return d.say(finding{Check: "active", Text: "it is active again", ToDo: "flowkeep backfill --since … fetches what was not delivered meanwhile"})
}
