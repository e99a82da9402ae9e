package flows_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"flowkeep/internal/store/flows"
	"flowkeep/internal/store/storetest"
)

const view = "flow_" + flowID

func TestView_TypesInTheOrderOfTheForm(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i := range 5 {
		d.store(flowID, fmt.Sprintf(`{"zulu":"2026-03-0%d","alpha":true,"n":1.50,"list":["a","b"],"mixed":["a",1],"object":{"b":1},
			"flow_token":"x","millis":"170325724004%d","at":"2026-03-01T10:00:0%dZ","phone":"5511987654321","words":"hello","nothing":null}`, i+1, i, i))
	}
	d.sync()
	d.wantColumns(view, "zulu date", "alpha boolean", "n numeric", "list text[]", "mixed jsonb", "object jsonb",
		"millis date", "at timestamptz", "phone text", "words text", "nothing text")
	got := d.text(`SELECT row(zulu, alpha, n, list, mixed, object, millis, at AT TIME ZONE 'UTC', phone, words, nothing, flow_token)
		FROM flows.flow_1197715005513101 ORDER BY stored_at LIMIT 1`)
	want := `(2026-03-01,t,1.50,"{a,b}","[""a"", 1]","{""b"": 1}",2023-12-22,"2026-03-01 10:00:00",5511987654321,hello,,1197715005513101)`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	fixed := d.text(`SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'flows.flow_1197715005513101'::regclass AND attnum BETWEEN 1 AND 7`)
	if fixed != "message_id wa_id contact_name flow_token sent_at received_at stored_at" {
		t.Errorf("fixed columns: %s", fixed)
	}
}

func TestView_ATextNeedsFiveDatesToBeADate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, want := range []string{"text", "text", "text", "text", "date"} {
		d.store(flowID, fmt.Sprintf(`{"day":"2026-01-0%d"}`, i+1))
		d.sync()
		d.wantColumns(view, "day "+want)
	}
	d.store(flowID, `{"day":"2026-02-30"}`) // there is no such day
	d.sync()
	d.wantColumns(view, "day text")
}

func TestRun_WidensWhatNothingDependsOn(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	run(t, d.keeper)
	steps := []struct{ answer, want string }{
		{`{"a":true}`, "a boolean"},
		{`{"a":false,"b":1}`, "a boolean,b numeric"},
		{`{"c":"x","a":"maybe","b":2}`, "a text,b numeric,c text"},
		{`{"b":["x"],"a":7}`, "a text,b jsonb,c text"},
		{`{"a":{"deep":1}}`, "a jsonb,b jsonb,c text"},
	}
	for i, s := range steps {
		d.store(flowID, s.answer)
		d.keeper.Saw(flowID)
		storetest.Eventually(t, s.want, func() bool { return strings.Join(d.columns(view), ",") == s.want })
		if i == 0 {
			d.exec(`GRANT SELECT ON flows.` + view + ` TO pg_monitor, PUBLIC`)
		}
	}
	if got := d.text(`SELECT string_agg(coalesce(a::text, '-') || ' ' || coalesce(b::text, '-'), '; ' ORDER BY stored_at) FROM flows.` + view); got != `true -; false 1; "maybe" 2; 7 ["x"]; {"deep": 1} -` {
		t.Errorf("something is hidden: %s", got)
	}
	if got := d.text(`SELECT relacl::text LIKE '%pg_monitor=r/%' AND relacl::text LIKE '%,=r/%' FROM pg_class WHERE relname = '` + view + `'`); got != "true" {
		t.Error("who could read the view cannot any more")
	}
}

func TestRun_KeepsTheTypeThatSomebodyDependsOnAndSaysSo(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var log syncBuffer
	keeper := openKeeper(t, d.url, zerolog.New(&log))
	d.store(flowID, `{"it's a key":true}`)
	d.sync()
	d.exec(`CREATE VIEW mine AS SELECT "it's a key" AS yes FROM flows.` + view)
	run(t, keeper)
	d.store(flowID, `{"it's a key":"perhaps","new":1}`, `{"it's a key":[1]}`)
	storetest.Eventually(t, "misfits", func() bool { return d.text(`SELECT misfits FROM flow_catalog`) == "{2,0}" })
	storetest.Eventually(t, "the new column", func() bool { return len(d.columns(view)) == 2 })
	d.wantColumns(view, "it's a key boolean", "new numeric")
	if got := d.text(`SELECT string_agg(coalesce(yes::text, 'null'), ' ' ORDER BY yes) FROM mine`); got != "true null null" {
		t.Errorf("mine: %s", got)
	}
	for _, want := range []string{`"in_the_way":["view mine"]`, `flowkeep flows retype 1197715005513101 'it'\\''s a key' jsonb`, `"answers":`} {
		storetest.Eventually(t, want+" in the log", func() bool { return strings.Contains(log.String(), want) })
	}
	if strings.Contains(log.String(), "perhaps") {
		t.Error("an answer was logged")
	}
	err := d.keeper.Retype(t.Context(), flowID, "it's a key", "jsonb")
	if !errors.Is(err, flows.ErrRefused) || !strings.Contains(err.Error(), "view mine") {
		t.Errorf("retype: %v", err)
	}
	d.sync() // same result, since mine still depends on it
	d.wantColumns(view, "it's a key boolean", "new numeric")
	if got := d.text(`SELECT misfits FROM flow_catalog`); got != "{2,0}" {
		t.Errorf("misfits after sync: %s", got)
	}
	d.exec(`DROP VIEW mine`)
	if err := d.keeper.Retype(t.Context(), flowID, "it's a key", "jsonb"); err != nil {
		t.Fatal(err)
	}
	d.wantColumns(view, "it's a key jsonb", "new numeric")
	if got := d.text(`SELECT misfits FROM flow_catalog`); got != "{0,0}" {
		t.Errorf("misfits in the end: %s", got)
	}
}

func TestRun_AViewIsChangedBesideALongQuery(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(flowID, `{"a":1}`)
	d.sync()
	run(t, d.keeper)
	reader := storetest.Connect(t, d.url)
	tx, err := reader.Begin(t.Context()) // holds the view as a long query would
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT count(*) FROM flows.`+view); err != nil {
		t.Fatal(err)
	}
	d.store(flowID, `{"a":1,"b":2}`)
	d.keeper.Saw(flowID)
	slowest := time.Duration(0)
	for begin := time.Now(); time.Since(begin) < 3*time.Second; {
		start := time.Now()
		d.exec(`SELECT count(*) FROM flows.` + view)
		slowest = max(slowest, time.Since(start))
	}
	if slowest > 500*time.Millisecond {
		t.Errorf("a reader waited for %v", slowest)
	}
	d.wantColumns(view, "a numeric")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	storetest.Eventually(t, "the column", func() bool { return len(d.columns(view)) == 2 })
}

func TestRun_OfManyReplicasOneDoesIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for range 3 {
		run(t, openKeeper(t, d.url, zerolog.Nop()))
	}
	for i := range 40 {
		id := fmt.Sprintf("%016d", i%4)
		d.store(id, fmt.Sprintf(`{"k%d":1,"always":%d}`, i/4, i))
	}
	told := openKeeper(t, d.url, zerolog.Nop())
	run(t, told)
	for i := range 4 {
		told.Saw(fmt.Sprintf("%016d", i))
	}
	storetest.Eventually(t, "all views", func() bool {
		return d.text(`SELECT count(*) FROM flow_catalog WHERE cardinality(keys) = 11 AND answers = 10 AND misfits = array_fill(0::bigint, ARRAY[11])`) == "4"
	})
}

// What is made live, answer by answer, is what is made from nothing.
func TestSync_MakesTheSameFromNothing(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	run(t, d.keeper)
	const columnsSQL = `SELECT string_agg(id || ' ' || view || keys::text || columns::text || types::text || misfits::text || answers || state, E'\n' ORDER BY id) FROM flow_catalog`
	for round := range 4 {
		for f := range 3 {
			id := fmt.Sprintf("%016d", f)
			d.store(id, fmt.Sprintf(`{"z%d":%d,"a":"2026-01-0%d","b":null}`, round, f, round+1), `[1,2]`, fmt.Sprintf(`{"b":%d,"flow_token":"x","m%d":true}`, round, round))
			d.keeper.Saw(id)
		}
		storetest.Eventually(t, "all is looked at", func() bool {
			return d.text(`SELECT count(*) FROM flow_catalog WHERE answers = $1`, 3*(round+1)) == "3"
		})
	}
	storetest.Eventually(t, "all views are made", func() bool {
		return d.text(`SELECT count(*) FROM flow_catalog WHERE cardinality(keys) = 10`) == "3"
	})
	live := d.text(columnsSQL)
	d.sync()
	if diff := cmp.Diff(live, d.text(columnsSQL)); diff != "" {
		t.Errorf("sync beside live: %s", diff)
	}
	d.exec(`DROP VIEW flows.flow_0000000000000000, flows.flow_0000000000000001`)
	d.exec(`TRUNCATE flow_catalog`)
	d.sync()
	if diff := cmp.Diff(live, d.text(columnsSQL)); diff != "" {
		t.Errorf("sync from nothing: %s", diff)
	}
}

func TestRun_FindsWhatNobodyToldOf(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(flowID, `{"a":1}`)
	run(t, openKeeper(t, d.url, zerolog.Nop(), "booking flow"))
	storetest.Eventually(t, "the view", func() bool { return len(d.columns(view)) == 1 })
	storetest.Eventually(t, "the configured flow's view", func() bool { return d.text(`SELECT to_regclass('flows."flow_booking flow"')`) != "" })
}

func TestView_LimitsAreKeptAndTheRestIsUnlinked(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	var many strings.Builder
	for i := range 250 {
		fmt.Fprintf(&many, `"key %d":%d,`, i, i)
	}
	d.store(flowID, `{`+many.String()+`"`+strings.Repeat("k", 2000)+`":1}`, `{"one more":1}`, `["a list"]`)
	d.sync()
	d.exec(`INSERT INTO flow_catalog (id, view) SELECT 'f' || n, 'v' || n FROM generate_series(1, 499) AS n`)
	d.store("2222222222222222", `{"a":1}`)
	ctx := t.Context()
	d.exec(`DO $$ BEGIN FOR n IN 1..499 LOOP EXECUTE format('CREATE VIEW flows.v%s AS SELECT', n); END LOOP; END $$`)
	run(t, d.keeper)
	storetest.Eventually(t, "both flows", func() bool { return d.text(`SELECT count(*) FROM flow_catalog WHERE answers > 0`) == "2" })
	l, _, err := d.keeper.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	l = slices.DeleteFunc(l, func(f flows.Flow) bool { return f.ID[0] == 'f' })
	if len(l) != 2 || l[0].Answers != 3 || len(l[0].Columns) != 200 || len(l[1].Columns) != 1 {
		t.Fatalf("flows: %+v", l)
	}
	if !l[0].More || l[0].Lists != 1 || l[1].View != "" {
		t.Errorf("%v %v %q", l[0].More, l[0].Lists, l[1].View)
	}
	if n := len(d.columns(view)); n != 200 {
		t.Errorf("%d columns", n)
	}
	d.store("", `{"custom":"x"}`)
	d.exec(`UPDATE flow_responses SET flow_id = NULL WHERE flow_id = ''`)
	if got := d.text(`SELECT string_agg(response::text, ' ' ORDER BY stored_at) FROM flows.unlinked`); got != `{"a": 1} {"custom": "x"}` {
		t.Errorf("unlinked: %s", got)
	}
	if err := d.keeper.Name(ctx, "2222222222222222", "second"); err != nil {
		t.Fatal(err)
	}
	d.wantColumns("second", "a numeric")
	if got := d.text(`SELECT count(*) FROM flows.unlinked`); got != "1" {
		t.Errorf("unlinked: %s", got)
	}
}

func TestName_KeepsWhatDependsOnTheView(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(flowID, `{"a":1}`)
	d.store("3333333333333333", `{"b":1}`)
	d.sync()
	d.exec(`CREATE VIEW mine AS SELECT sum(a) FROM flows.` + view)
	ctx := t.Context()
	for _, bad := range []string{"", "Booking", "a b", "1st", "unlinked", strings.Repeat("n", 64), `x"; DROP TABLE flow_responses; --`, "flow_3333333333333333"} {
		if err := d.keeper.Name(ctx, flowID, bad); !errors.Is(err, flows.ErrRefused) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := d.keeper.Name(ctx, "no such flow", "x"); !errors.Is(err, flows.ErrRefused) {
		t.Errorf("no such flow: %v", err)
	}
	if err := d.keeper.Name(ctx, flowID, "booking"); err != nil {
		t.Fatal(err)
	}
	d.store(flowID, `{"a":2,"c":true}`)
	d.sync()
	d.wantColumns("booking", "a numeric", "c boolean")
	if got := d.text(`SELECT * FROM mine`) + d.text(`SELECT to_regclass('flows.`+view+`')`); got != "3" {
		t.Errorf("mine: %s", got)
	}
	if err := d.keeper.Name(ctx, "booking", "bookings"); err != nil {
		t.Fatal(err)
	}
	d.wantColumns("bookings", "a numeric", "c boolean")
}

func TestRetype_OnlyToWhatHoldsEveryAnswer(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.store(flowID, `{"price":"12.50","born":"315532800000","yes":"true"}`)
	d.sync()
	d.wantColumns(view, "price text", "born text", "yes text")
	for key, columnType := range map[string]string{"price": "numeric", "born": "date", "yes": "boolean"} {
		if err := d.keeper.Retype(t.Context(), flowID, key, columnType); err != nil {
			t.Error(err)
		}
	}
	d.wantColumns(view, "price numeric", "born date", "yes boolean")
	for key, columnType := range map[string]string{"price": "boolean", "born": "text[]", "yes": "serial", "none": "text"} {
		if err := d.keeper.Retype(t.Context(), flowID, key, columnType); !errors.Is(err, flows.ErrRefused) {
			t.Errorf("%s %s: %v", key, columnType, err)
		}
	}
	d.sync()
	d.wantColumns(view, "price numeric", "born date", "yes boolean")
	if got := d.text(`SELECT price || ' ' || born || ' ' || yes FROM flows.` + view); got != "12.50 1980-01-01 true" {
		t.Error(got)
	}
	d.store(flowID, `{"price":"n/a"}`)
	d.sync()
	d.wantColumns(view, "price text", "born date", "yes boolean")
}

// syncBuffer is a log that may be read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
