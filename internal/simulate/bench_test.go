package simulate

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// BenchmarkDelivery is the cost of making and signing one delivery.
func BenchmarkDelivery(b *testing.B) {
	for name, c := range map[string]Config{
		"single": {Batch: 1, Mix: Mix{Default: 70, Custom: 30}},
		"batch":  {Batch: 10, Mix: Mix{Default: 70, Custom: 30}},
		"mixed":  {Batch: 1, Mix: DefaultMix()},
	} {
		b.Run(name, func(b *testing.B) {
			c.Secret = secret
			traffic := newTraffic(b, 1, c.Batch, c.Mix)
			s := newSender(&c, &url.URL{}, traffic, nil, nil)
			var bytes int64
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				sent := traffic.Delivery(i)
				s.sign(&sent)
				bytes += int64(len(sent.Body))
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "body-bytes/op")
		})
	}
}

// BenchmarkRun is the cost of a delivery to the end, with the least receiver
// there is in the same process.
func BenchmarkRun(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"stored":1,"duplicate":0,"ignored":0,"quarantined":0,"spooled":0}`))
	}))
	defer server.Close()
	b.ResetTimer()
	report, err := Run(b.Context(), Config{URL: server.URL, Secret: secret, Count: b.N, Mix: Mix{Default: 70, Custom: 30}})
	if err != nil || report.Accepted != int64(b.N) {
		b.Fatalf("%v\n%s", err, report)
	}
}
