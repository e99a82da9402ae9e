package simulate

import (
	"embed"
	"fmt"
	"strings"
)

//go:embed templates/*.json
var templateFiles embed.FS

// loader compiles templates; the first error sticks.
type loader struct {
	includes *strings.Replacer
	pools    map[string][]string
	err      error
}

func (t *Traffic) load() error {
	l := &loader{includes: strings.NewReplacer(), pools: valuePools()}
	l.includes = strings.NewReplacer("{{conversation}}", l.text("conversation.json"), "{{kapso}}", l.text("kapso.json"))

	t.reply = l.compile(l.text("response.json"))
	t.forms = forms()
	for i := range t.forms {
		t.forms[i].answers = l.compile(l.text(t.forms[i].file))
	}
	for _, file := range []string{"text.json", "image.json", "reaction.json", "button_reply.json"} {
		t.others = append(t.others, otherMessage{eventReceived, l.compile(l.text(file))})
	}
	t.inBatch = len(t.others) // Kapso puts received messages into batches, nothing else
	for _, event := range []string{"sent", "delivered", "read", "failed"} {
		t.others = append(t.others, otherMessage{"whatsapp.message." + event, l.compile(l.text("status.json"))})
	}
	t.others = append(t.others, otherMessage{"whatsapp.conversation.created", l.compile(l.text("conversation_created.json"))})
	t.odd = oddCases()
	for i := range t.odd {
		l.compileOdd(&t.odd[i])
	}
	return l.err
}

// text returns a file's text as compile wants it, with what it includes.
func (l *loader) text(file string) string {
	b, err := templateFiles.ReadFile("templates/" + file)
	if err != nil {
		l.fail(err)
	}
	return l.includes.Replace(joinLines(string(b)))
}

func (l *loader) compile(text string) template {
	t, err := compile(text, l.pools)
	if err != nil {
		l.fail(err)
	}
	return t
}

func (l *loader) compileOdd(c *oddCase) {
	text := c.body
	if text == "" {
		file := c.file
		if file == "" {
			file = "response.json"
		}
		text = l.text(file)
	}
	for i := 0; i < len(c.edits); i += 2 {
		if !strings.Contains(text, c.edits[i]) {
			l.fail(fmt.Errorf("odd payload %s: nothing like %s to replace", c.name, c.edits[i]))
		}
		text = strings.ReplaceAll(text, c.edits[i], c.edits[i+1])
	}
	if c.sent == "" {
		c.sent = plainAnswers
	}
	if c.stored == "" {
		c.stored = c.sent
	}
	c.envelope, c.sentJSON, c.storedJSON = l.compile(text), l.compile(c.sent), l.compile(c.stored)
}

func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// joinLines drops line breaks and the indentation after them: they are for the
// file's reader and not part of the body.
func joinLines(text string) string {
	var joined strings.Builder
	for line := range strings.Lines(text) {
		joined.WriteString(strings.TrimSpace(line))
	}
	return joined.String()
}
