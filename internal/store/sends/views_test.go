package sends_test

import (
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
	d.want("(111,2026-01-01,1,1,1,1,0,00:05:00) (111,2026-01-02,3,2,1,2,1,00:30:00) (222,2026-01-02,1,0,0,1,0,00:00:00)",
		`SELECT string_agg(f::text, ' ' ORDER BY flow_id, day) FROM flow_funnel AS f`)
}
