package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"

	"flowkeep/internal/kapso"
	"flowkeep/internal/store/sends"
)

const sendUsage = `Usage: flowkeep send flow|template [flags]

  flow      as an interactive message, within 24 hours of the person's last one
  template  by an approved template with a FLOW button, at any time

The message comes from the flags below, or whole from --json: the object that
the official SDK's call takes. What is printed is the wamid.

`

const templateUsage = `Usage: flowkeep template create [flags]

The template comes from the flags below, or whole from --json: the object that
the official SDK's templates.create takes. What is printed is the template's id,
its status and its category.

`

// send sends a flow.
func send(ctx context.Context, p program, args []string) error {
	switch first(args) {
	case "flow":
		return sendFlow(ctx, p, args[1:])
	case "template":
		return sendTemplate(ctx, p, args[1:])
	case "-h", "-help", "--help":
		fmt.Fprint(p.stderr, sendUsage+"\"flowkeep send flow -h\" and \"flowkeep send template -h\" list the flags.\n")
		return flag.ErrHelp
	}
	return fmt.Errorf("%w: say flow or template", errUsage)
}

// template creates a template.
func template(ctx context.Context, p program, args []string) error {
	switch first(args) {
	case "create":
		return createTemplate(ctx, p, args[1:])
	case "-h", "-help", "--help":
		fmt.Fprint(p.stderr, templateUsage+"\"flowkeep template create -h\" lists the flags.\n")
		return flag.ErrHelp
	}
	return fmt.Errorf("%w: say create", errUsage)
}

func sendFlow(ctx context.Context, p program, args []string) error {
	o := newSendOptions(p, "send flow", sendUsage)
	o.registered("the flow's id")
	var m kapso.FlowMessage
	var payload kapso.ActionPayload
	var header, data string
	o.flags.StringVar(&m.PhoneNumberID, "from", "", "your number, by its phone number id")
	o.flags.StringVar(&m.To, "to", "", "the person's phone number")
	o.flags.StringVar(&m.BodyText, "body", "", "the text, up to 1024 characters")
	o.flags.StringVar(&header, "header", "", "a text above it, up to 60 characters")
	o.flags.StringVar(&m.FooterText, "footer", "", "a text below it, up to 60 characters")
	o.flags.StringVar(&m.Parameters.FlowCTA, "cta", "", "the button's text, 1 to 20 characters")
	o.flags.StringVar(&m.Parameters.FlowToken, "token", "", "a flow token of your own; without one Kapso puts the flow's id")
	o.flags.StringVar(&m.Parameters.Mode, "mode", "", "draft, to send a flow that is not published")
	o.flags.StringVar(&m.Parameters.FlowAction, "action", "", "navigate or data_exchange (default: what Meta takes for none, navigate)")
	o.flags.StringVar(&payload.Screen, "screen", "", "the screen to open at")
	o.flags.StringVar(&data, "data", "", "that screen's data, a JSON object; its keys are sent in snake_case")
	if err := o.parse(args, &m); err != nil {
		return err
	}
	if o.json == "" {
		m.Parameters.FlowID, payload.Data = o.flow, json.RawMessage(data)
		if payload.Screen != "" || data != "" {
			m.Parameters.FlowActionPayload = &payload
		}
		if header != "" {
			m.Header = &kapso.Header{Type: "text", Text: header}
		}
	}
	request, err := m.Request()
	return o.send(ctx, request, err, sends.Send{
		FlowID: m.Parameters.FlowID, FlowToken: m.Parameters.FlowToken, Kind: sends.KindInteractive,
		Recipient: m.Address(), PhoneNumberID: m.PhoneNumberID,
	})
}

func sendTemplate(ctx context.Context, p program, args []string) error {
	o := newSendOptions(p, "send template", sendUsage)
	o.registered("the id of the flow that the template's button opens, for the register; it is not sent")
	var m kapso.TemplateMessage
	var token, data string
	o.flags.StringVar(&m.PhoneNumberID, "from", "", "your number, by its phone number id")
	o.flags.StringVar(&m.To, "to", "", "the person's phone number")
	o.flags.StringVar(&m.Template.Name, "name", "", "the template's name")
	o.flags.StringVar(&m.Template.Language.Code, "language", "", "its language, such as en_US")
	o.flags.StringVar(&token, "token", "", "a flow token of your own; without one Kapso puts the flow's id")
	o.flags.StringVar(&data, "data", "", "the first screen's data, a JSON object; its keys are sent in snake_case")
	if err := o.parse(args, &m); err != nil {
		return err
	}
	if o.json == "" {
		button, err := kapso.FlowButton("0", token, json.RawMessage(data))
		if err != nil {
			return fmt.Errorf("%w: --data: %w", errUsage, err)
		}
		m.Template.Components = []kapso.Component{button}
	}
	request, err := m.Request()
	if err == nil && o.flow == "" && !o.dryRun {
		err = fmt.Errorf("%w: --flow is missing: the flow that the template's button opens, for the register", errUsage)
	}
	return o.send(ctx, request, err, sends.Send{
		FlowID: o.flow, FlowToken: m.FlowToken(), Kind: sends.KindTemplate, Template: m.Template.Name,
		Recipient: m.Address(), PhoneNumberID: m.PhoneNumberID,
	})
}

func createTemplate(ctx context.Context, p program, args []string) error {
	o := newSendOptions(p, "template create", templateUsage)
	var t kapso.NewTemplate
	var body string
	var button kapso.Button
	o.flags.StringVar(&t.BusinessAccountID, "account", "", "the business account's id")
	o.flags.StringVar(&t.Name, "name", "", "small letters, digits and underscores")
	o.flags.StringVar(&t.Language, "language", "", "such as en_US")
	o.flags.StringVar(&t.Category, "category", "", "UTILITY, MARKETING or AUTHENTICATION")
	o.flags.StringVar(&body, "body", "", "the text, up to 1024 characters")
	o.flags.StringVar(&button.Text, "cta", "", "the button's text, 1 to 25 characters")
	o.flags.StringVar(&button.FlowID, "flow", "", "the flow's id")
	o.flags.StringVar(&button.FlowAction, "action", "", "navigate or data_exchange")
	o.flags.StringVar(&button.NavigateScreen, "screen", "", "the screen to open at")
	err := o.parse(args, &t)
	if err == nil && o.json == "" {
		t.Components, err = kapso.FlowTemplate(body, button)
	}
	if err != nil {
		return err
	}
	request, err := t.Request()
	return o.call(request, err, func(_ config, client *kapso.Client) error {
		created, err := client.CreateTemplate(ctx, request)
		if err == nil {
			fmt.Fprintln(p.stdout, printable(created.ID), printable(created.Status), printable(created.Category))
		}
		return err
	})
}
