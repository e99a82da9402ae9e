package flowparse

// sender is who sent a message. Any part of it can be unknown: with usernames,
// Meta omits the number or sends "" (kapso-facts.md, section 2).
type sender struct {
	waID    string
	userID  string
	contact contact
}

func readSender(it *item, msg *message, contacts *contactList) sender {
	s := sender{
		waID:   firstDigits(msg.from, it.conversation.phoneNumber),
		userID: firstUserID(msg.fromUserID, it.conversation.userID),
	}
	s.contact = contacts.of(s.waID, s.userID)
	if s.waID == "" {
		s.waID = s.contact.waID
	}
	if s.userID == "" {
		s.userID = s.contact.userID
	}
	if s.userID == "" {
		s.userID = firstUserID(msg.kapso.fromUserID, msg.kapso.scopedUserID, msg.kapso.userID)
	}
	return s
}

func firstDigits(tokens ...[]byte) string {
	for _, t := range tokens {
		if d := phoneDigits(t); d != "" {
			return d
		}
	}
	return ""
}

func firstUserID(tokens ...[]byte) string {
	for _, t := range tokens {
		if id := userID(t); id != "" {
			return id
		}
	}
	return ""
}

// phoneDigits returns the digits of a phone number, which comes with and
// without a plus. Text with a letter in it is no phone number, but an id, whose
// digits would be somebody else's.
func phoneDigits(token []byte) string {
	s := token
	if isString(token) {
		s = decodeString(token)
	} else if !isNumber(token) {
		return ""
	}
	var digits [maxWaID]byte
	n := 0
	for _, c := range s {
		switch {
		case isDigit(c):
			if n == maxWaID {
				return ""
			}
			digits[n] = c
			n++
		case 'a' <= c|0x20 && c|0x20 <= 'z':
			return ""
		}
	}
	return string(digits[:n])
}

// userID returns a business-scoped user id, or "" if it is too long for one.
func userID(token []byte) string {
	id := text(token)
	if len(id) > maxUserID {
		return ""
	}
	return id
}
