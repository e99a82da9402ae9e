package simulate

import (
	"fmt"
	"strings"
)

// forms are the flows that people answer. Each has its own id and the file of
// its final screen.
func forms() []form {
	return []form{
		{flowID: "1197715005513101", file: "form_appointment.json"},
		{flowID: "1584210996334417", file: "form_survey.json"},
		{flowID: "762893041557208", file: "form_lead.json"},
		{flowID: "2034871150926633", file: "form_order.json"},
	}
}

// FlowIDs returns the ids of all flows in the traffic, for a receiver that
// wants to be told.
func FlowIDs() []string {
	var ids []string
	for _, f := range forms() {
		ids = append(ids, f.flowID)
	}
	return ids
}

func businessNumbers() []businessNumber {
	return []businessNumber{
		{id: "647015955153740", display: "12025550100"},
		{id: "581203447719025", display: "13125550100"},
		{id: "712940088365511", display: "16465550100"},
	}
}

func personNames() []string {
	return []string{
		"Ana Pérez", "José Ñúñez", "Marie Dupont", "Jürgen Groß", "李小龍", "山田 太郎", "Олена Коваль",
		"محمد علي", "Priya Sharma", "John O'Neil", "Zoë 🌻", "Bob", "Thị Hồng Nguyễn", "Łukasz Żak",
		"Chidinma Okafor", `Dwayne \"The Rock\" J.`,
	}
}

// valuePools are the answers that people give, as JSON values by pool name.
func valuePools() map[string][]string {
	return map[string][]string{
		"date":      dates(),
		"time":      {`"09:00"`, `"10:00"`, `"10:30"`, `"11:15"`, `"14:00"`, `"16:45"`},
		"millis":    {`"1703257240046"`, `"1735689600000"`, `"1767225600000"`},
		"range":     {`"2026-03-01"`, `{"start-date":"2026-03-01","end-date":"2026-03-07"}`},
		"bool":      {"true", "false"},
		"rating":    {"1", "2", "3", "4", "5", `"0_excellent"`, `"1_good"`},
		"amount":    {"0", "12", "19.90", "1250.00", "-3.5", "1e3", "12345678901234567890", `"49.00"`},
		"email":     {`"ana@example.com"`, `"j.groß@example.org"`, `"bob+wa@example.net"`, `""`, "null"},
		"city":      {`"São Paulo"`, `"Zürich"`, `"東京"`, `"New York"`, `"Київ"`, `"القاهرة"`},
		"services":  {`["cut"]`, `["cut","color"]`, `["0_Cut_&_style","2_Manicure"]`, `[]`},
		"topics":    {`["price","quality"]`, `["0_Service","1_Speed","2_Staff"]`, `["other"]`},
		"item_list": {`["sku-118"]`, `["sku-118","sku-204","sku-310"]`, `["sku-9"]`},
		"choice":    {`"0_Yes"`, `"1_No"`, `"2_Maybe"`, `"whatsapp"`, `"phone"`},
		"note": {
			`""`, `"Thanks!"`, `"Please call before 10:00 & ring twice <front door>"`,
			`"Sin gluten, por favor 🙏"`, `"first line\nsecond line\t\"quoted\""`, `"Gr\u00fc\u00dfe aus K\u00f6ln"`,
			`"C:\\path\\to / 100% @home"`, `"\ud83d\ude00 escaped"`,
		},
		"long_text": {
			`"` + strings.Repeat("The staff were friendly and quick. ", 6) + `"`,
			`"` + strings.Repeat("Muy buena atención, volveré pronto. ", 5) + `"`,
			`"` + strings.Repeat("とても良かったです。", 8) + `"`,
			`"Good."`,
		},
	}
}

func dates() []string {
	var all []string
	for month := 1; month <= 12; month++ {
		for day := 1; day <= 28; day++ {
			all = append(all, fmt.Sprintf(`"2026-%02d-%02d"`, month, day))
		}
	}
	return all
}
