package sends_test

import (
	"fmt"
	"strings"
	"testing"

	"flowkeep/internal/flowparse"
)

func TestViews_FunnelAndAnswers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, flow_token, context, sent_at, status) VALUES
		('wamid.s1', '111', NULL, '{"order":1}', '2026-01-01T23:30:00Z', 'read'),
		('wamid.s2', '111', 'order-2', '{"order":2}', '2026-01-02T00:00:00Z', 'delivered'),
		('wamid.s3', '111', 'shared', '{"order":3}', '2026-01-02T01:00:00+01', 'sent'),
		('wamid.s4', '111', 'shared', '{"order":4}', '2026-01-02T00:00:00Z', 'read'),
		(NULL, '111', NULL, '{}', '2026-01-02T00:00:00Z', 'failed'), (NULL, '111', NULL, '{}', '2026-01-02T00:00:00Z', 'pending'),
		('wamid.s5', '222', NULL, '{}', '2026-01-02T00:00:00Z', 'sent')`)
	d.store(flowparse.New(nil),
		answer{id: "1", context: "wamid.s1"}, answer{id: "1 again", context: "wamid.s1"},
		answer{id: "2", context: "wamid.unheard", token: "order-2"}, // by its token
		answer{id: "3", context: "wamid.s3", token: "shared"},
		answer{id: "4", token: "shared"}, // of which of two?
		answer{id: "5", token: "unheard"},
		answer{id: "6", context: "wamid.s5"}, // at once, by a clock of whole seconds
	)
	d.exec(`UPDATE flow_responses SET sent_at = (SELECT send_sent_at FROM flow_answers a WHERE a.message_id = flow_responses.message_id) +
		make_interval(secs => CASE message_id WHEN '1' THEN 600 WHEN '1 again' THEN 300 WHEN '2' THEN 1200 WHEN '6' THEN -0.5 ELSE 2400 END)`)
	d.want("1 1 order=1, 1 again 1 order=1, 2 2 order=2, 3 3 order=3, 4 - -, 5 - -, 6 7 -",
		`SELECT string_agg(message_id || ' ' || coalesce(send_id::text, '-') || ' ' || coalesce('order=' || (send_context->>'order'), '-'), ', ' ORDER BY message_id) FROM flow_answers`)
	d.want("(111,2026-01-01,1,1,1,1,0,00:05:00) (111,2026-01-02,3,3,3,2,1,00:30:00) (222,2026-01-02,1,1,1,1,0,00:00:00)",
		`SELECT string_agg(f::text, ' ' ORDER BY flow_id, day) FROM flow_funnel AS f`)
}

// An answer tells what no status event did: events that came before their send
// was registered are not kept.
func TestFunnel_AnAnswerProvesThatItsSendWasRead(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, status := range []string{"sent", "delivered", "read", "failed", "in_doubt", "pending"} {
		d.exec(`INSERT INTO flow_sends (wamid, flow_id, status, sent_at) VALUES ($1, '111', $2, '2026-01-02T00:00:00Z'), ($3, '111', $2, '2026-01-03T00:00:00Z')`,
			"wamid."+status, status, "wamid.unanswered."+status)
		d.store(flowparse.New(nil), answer{id: status, context: "wamid." + status})
		d.exec(`UPDATE flow_responses SET sent_at = '2026-01-02T00:00:00Z'::timestamptz + $2::bigint * interval '1 minute' WHERE message_id = $1`, status, i)
	}
	// Registered an hour after it was answered, and by a clock that is ahead.
	d.exec(`INSERT INTO flow_sends (wamid, flow_id, sent_at) VALUES ('wamid.late', '222', '2026-01-02T01:00:00Z'), ('wamid.ahead', '333', '2026-01-02T00:00:01Z')`)
	d.store(flowparse.New(nil), answer{id: "late", context: "wamid.late"}, answer{id: "ahead", context: "wamid.ahead"})
	d.exec(`UPDATE flow_responses SET sent_at = '2026-01-02T00:00:00Z' WHERE message_id IN ('late', 'ahead')`)
	d.want("(111,2026-01-02,6,6,6,6,0,00:02:30) (111,2026-01-03,3,2,1,0,1,) (222,2026-01-02,1,1,1,1,0,) (333,2026-01-02,1,1,1,1,0,00:00:00)",
		`SELECT string_agg(f::text, ' ' ORDER BY flow_id, day) FROM flow_funnel AS f`)

	// What "flowkeep flows" shows is the sum of the view.
	list, err := d.register.Funnels(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var sums strings.Builder
	for _, f := range list {
		fmt.Fprintf(&sums, "(%s,%d,%d,%d,%d)", f.FlowID, f.Sent, f.Delivered, f.Read, f.Answered)
	}
	d.want(sums.String(), `SELECT string_agg(f::text, '' ORDER BY flow_id) FROM (
		SELECT flow_id, sum(sent), sum(delivered), sum(read), sum(answered) FROM flow_funnel GROUP BY flow_id) AS f`)
	if len(list) != 3 || list[0].Median == nil || list[0].Median.String() != "2m30s" || list[1].Median != nil || list[2].Median == nil || *list[2].Median != 0 {
		t.Errorf("%+v", list)
	}
}
