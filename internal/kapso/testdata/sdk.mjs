// Makes the .json files beside it: what the official SDK sends for each input.
//
//   npm install @kapso/whatsapp-cloud-api@0.3.0 && node sdk.mjs
import { WhatsAppClient } from '@kapso/whatsapp-cloud-api';
import fs from 'node:fs';

const calls = { flow: (c, input) => c.messages.sendInteractiveFlow(input), template: (c, input) => c.messages.sendTemplate(input), create: (c, input) => c.templates.create(input) };

for (const file of fs.readdirSync('.').filter((name) => name.endsWith('.json') && !name.startsWith('package'))) {
  const { kind, input } = JSON.parse(fs.readFileSync(file));
  let sent;
  const client = new WhatsAppClient({
    baseUrl: 'https://api.kapso.ai/meta/whatsapp', graphVersion: 'v24.0', kapsoApiKey: 'key',
    fetch: async (url, init) => {
      sent = { path: new URL(url).pathname, body: JSON.parse(init.body) };
      return new Response('{}', { headers: { 'content-type': 'application/json' } });
    },
  });
  await calls[kind](client, input);
  fs.writeFileSync(file, JSON.stringify({ kind, input, ...sent }, null, 2) + '\n');
}
