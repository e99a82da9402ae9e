package kapso_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"flowkeep/internal/kapso"
)

// request reads an input of the SDK and makes it into a request.
func request(t *testing.T, kind, input string) (kapso.Request, error) {
	t.Helper()
	var m interface{ Request() (kapso.Request, error) }
	switch kind {
	case "flow":
		m = &kapso.FlowMessage{}
	case "template":
		m = &kapso.TemplateMessage{}
	case "create":
		m = &kapso.NewTemplate{}
	}
	if err := kapso.Decode([]byte(input), m); err != nil {
		return kapso.Request{}, err
	}
	return m.Request()
}

// Each file of testdata holds an input and what the official SDK sent for it.
func TestRequest_EqualsTheSDK(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	client, err := kapso.New("", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want struct {
			Kind, Path  string
			Input, Body json.RawMessage
		}
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		got, err := request(t, want.Kind, string(want.Input))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if diff := cmp.Diff(decoded(t, want.Body), decoded(t, got.Body)); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
		if url := client.URL(got); url != "https://api.kapso.ai"+want.Path {
			t.Errorf("%s: %s", file, url)
		}
	}
}

func decoded(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// flow is an input with further keys, and with its parameters' further keys.
func flow(keys, parameters string) string {
	return `{"phoneNumberId":"1","to":"15551234567","bodyText":"b"` + keys + `,"parameters":{"flowId":"1","flowCta":"Go"` + parameters + `}}`
}

func TestRequest_NamesEveryFieldThatBreaksARule(t *testing.T) {
	t.Parallel()
	button := func(parameters string) string {
		return `{"phoneNumberId":"1","to":"1","template":{"name":"n","language":{"code":"en"},"components":[{"type":"button","subType":"flow","index":"0","parameters":` + parameters + `}]}}`
	}
	create := func(button string) string {
		return `{"businessAccountId":"1","name":"n","language":"en","category":"UTILITY","components":[{"type":"BUTTONS","buttons":[{"type":"FLOW"` + button + `}]}]}`
	}
	long := func(n int) string { return strings.Repeat("ü", n) }
	for _, c := range []struct{ kind, input, want string }{
		{"flow", flow(``, `,"flowCta":"`+long(21)+`"`), "parameters.flowCta: has 21 characters; at most 20"},
		{"flow", flow(``, `,"flowCta":""`), "parameters.flowCta: is missing"},
		{"flow", flow(``, `,"flowId":""`), "parameters.flowId: is missing"},
		{"flow", flow(`,"bodyText":"`+long(1025)+`"`, ``), "bodyText: has 1025 characters"},
		{"flow", flow(`,"bodyText":""`, ``), "bodyText: is missing"},
		{"flow", flow(`,"footerText":"`+long(61)+`"`, ``), "footerText: has 61 characters"},
		{"flow", flow(`,"header":{"type":"text","text":"`+long(61)+`"}`, ``), "header.text: has 61 characters"},
		{"flow", flow(`,"header":{"type":"text"}`, ``), "header.text: is missing"},
		{"flow", flow(`,"header":{"type":"image","image":{}}`, ``), "header.image: needs an id or a link"},
		{"flow", flow(`,"header":{"type":"text","text":"x","video":{"id":"1"}}`, ``), "header.video: does not go with"},
		{"flow", flow(`,"header":{"type":"gif"}`, ``), "header.type: is \"gif\""},
		{"flow", flow(`,"to":""`, ``), "to: is missing"},
		{"flow", flow(`,"phoneNumberId":""`, ``), "phoneNumberId: is missing"},
		{"flow", flow(`,"recipientType":"crowd"`, ``), "recipientType: is \"crowd\""},
		{"flow", flow(`,"bizOpaqueCallbackData":"`+long(513)+`"`, ``), "bizOpaqueCallbackData: has 513"},
		{"flow", flow(``, `,"mode":"test"`), "parameters.mode: is \"test\""},
		{"flow", flow(``, `,"flowAction":"jump"`), "parameters.flowAction: is \"jump\""},
		{"flow", flow(``, `,"flowAction":"navigate"`), "flowActionPayload.screen: is missing: navigate needs a screen"},
		{"flow", flow(``, `,"flowActionPayload":{"data":{"a":1}}`), "flowActionPayload.screen: is missing"},
		{"flow", flow(``, `,"flowAction":"data_exchange","flowActionPayload":{"screen":"A"}`), "flowActionPayload: does not go with data_exchange"},
		{"flow", flow(``, `,"flowActionPayload":{"screen":"A","data":{}}`), "flowActionPayload.data: is empty"},
		{"flow", flow(``, `,"flowActionPayload":{"screen":"A","data":[1]}`), "flowActionPayload.data: must be a JSON object"},
		{"flow", flow(``, `,"flowActionPayload":{"screen":"A","data":{"aB":1,"a_b":2}}`), "two keys become a_b"},
		{"flow", flow(``, `,"flowTokn":"x"`), `unknown field "flowTokn"`},
		{"flow", flow(``, ``) + "{}", "something follows the JSON object"},
		{"flow", flow(``, ``) + "}", "something follows the JSON object"},
		{"flow", flow(``, ``) + " x", "something follows the JSON object"},
		{"flow", `{"parameters":{}}`, "flowId: is missing\nparameters.flowCta: is missing"},
		{"template", button(`[]`), "components[0].parameters: must be one of the type action"},
		{"template", button(`[{"type":"action","action":{"flowActionData":{}}}]`), "components[0].parameters[0].action.flowActionData: is empty"},
		{"template", `{"phoneNumberId":"1","to":"1","template":{"language":{}}}`, "template.name: is missing\ntemplate.language.code: is missing"},
		{"template", `{"phoneNumberId":"1","to":"1","template":{"name":"n","language":{"code":"en"},"components":[{"type":"button","subType":"flow","parameters":[{"type":"action","action":{}}]}]}}`, "components[0].index: is missing"},
		{"template", `{"phoneNumberId":"1","to":"1","template":{"name":"n","language":{"code":"en"},"components":[7]}}`, "components[0]: must be an object"},
		{"create", create(`,"text":"` + long(26) + `","flowId":"1"`), "buttons[0].text: has 26 characters"},
		{"create", create(`,"text":"x"`), "needs exactly one of flowId, flowName and flowJson; it has 0"},
		{"create", create(`,"text":"x","flowId":"1","flowName":"n"`), "it has 2"},
		{"create", create(`,"text":"x","flowId":"1","flowAction":"navigate"`), "buttons[0].navigateScreen: is missing"},
		{"create", create(`,"text":"x","flowId":"1","flowAction":"data_exchange","navigateScreen":"A"`), "navigateScreen: does not go with data_exchange"},
		{"create", `{"components":[]}`, "businessAccountId: is missing\nname: is missing\nlanguage: is missing\ncategory: is missing\ncomponents: is empty"},
	} {
		_, err := request(t, c.kind, c.input)
		if !errors.Is(err, kapso.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.input, err, c.want)
		}
	}
}

func TestRequest_TheLongestTextsPass(t *testing.T) {
	t.Parallel()
	input := flow(`,"bodyText":"`+strings.Repeat("ü", 1024)+`","footerText":"`+strings.Repeat("ü", 60)+`"`, `,"flowCta":"`+strings.Repeat("😀", 20)+`"`)
	if _, err := request(t, "flow", input); err != nil {
		t.Error(err)
	}
}

// Numbers beyond a double's precision stay as they are, where the SDK rounds.
func TestRequest_NumbersStayExact(t *testing.T) {
	t.Parallel()
	got, err := request(t, "flow", flow(``, `,"flowActionPayload":{"screen":"A","data":{"n":12345678901234567890,"x":1.0}}`))
	if err != nil || !strings.Contains(string(got.Body), `"data":{"n":12345678901234567890,"x":1.0}`) {
		t.Errorf("%s, %v", got.Body, err)
	}
}

func TestRequest_MediaHeader(t *testing.T) {
	t.Parallel()
	got, err := request(t, "flow", flow(`,"header":{"type":"document","document":{"link":"https://example.com/a.pdf?x=1&y=2"}}`, ``))
	if err != nil || !strings.Contains(string(got.Body), `"header":{"type":"document","document":{"link":"https://example.com/a.pdf?x=1&y=2"}}`) {
		t.Errorf("%s, %v", got.Body, err)
	}
}
