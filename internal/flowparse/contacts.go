package flowparse

// contact is one entry of a contacts list.
type contact struct {
	raw    []byte // nil if it is too large to carry; then nothing of it is read
	waID   string
	userID string
	name   []byte // profile.name, a token
}

// contactList finds the contact of a message. Meta puts up to a thousand
// messages into one delivery, so a list of several is indexed.
type contactList struct {
	all      []contact
	byWaID   map[string]*contact
	byUserID map[string]*contact
}

// readContacts reads as many contacts as a delivery can have messages.
func readContacts(token []byte) contactList {
	var list contactList
	for a := elements(token); a.next() && len(list.all) < maxKept; {
		list.all = append(list.all, readContact(a.value))
	}
	if len(list.all) < 2 {
		return list
	}
	list.byWaID = make(map[string]*contact, len(list.all))
	list.byUserID = make(map[string]*contact)
	for i := range list.all {
		c := &list.all[i]
		if _, taken := list.byWaID[c.waID]; !taken && c.waID != "" {
			list.byWaID[c.waID] = c
		}
		if _, taken := list.byUserID[c.userID]; !taken && c.userID != "" {
			list.byUserID[c.userID] = c
		}
	}
	return list
}

func readContact(token []byte) contact {
	token = carried(token)
	c := contact{raw: token}
	for m := members(token); m.next(); {
		switch string(m.key) {
		case "wa_id":
			c.waID = phoneDigits(m.value)
		case "user_id":
			c.userID = userID(m.value)
		case "profile":
			c.name = member(m.value, "name")
		}
	}
	return c
}

// of returns the contact with this number or this user id, else the only one
// there is, else an empty one.
func (l *contactList) of(waID, userID string) contact {
	if len(l.all) == 1 {
		return l.all[0]
	}
	if c := l.byWaID[waID]; c != nil {
		return *c
	}
	if c := l.byUserID[userID]; c != nil {
		return *c
	}
	return contact{}
}
