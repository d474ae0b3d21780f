// Appends and reads by Emmett: one line of JSON asks, one line answers.
// node emmett.mjs MODULES URL, where MODULES is the directory node_modules.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const require = createRequire(`${process.argv[2]}/`);
const { getPostgreSQLEventStore } = require('@event-driven-io/emmett-postgresql');
const store = getPostgreSQLEventStore(process.argv[3]);

const asked = {
  async migrate() {
    await store.schema.migrate();
  },
  // To several streams at the same time, to each of them in order.
  async append({ appends }) {
    const inOrder = async ([stream, all]) => {
      for (const events of all) await store.appendToStream(stream, events);
    };
    await Promise.all(Object.entries(appends).map(inOrder));
  },
  async late({ stream, events }) {
    await store.appendToStream(stream, events, { expectedStreamVersion: 1n });
  },
  async read({ streams }) {
    const read = await Promise.all(streams.map((stream) => store.readStream(stream)));
    return read.flatMap(({ events }) => events);
  },
};

const text = (value) => JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? Number(v) : v));
for await (const line of createInterface({ input: process.stdin })) {
  const { what, ...rest } = JSON.parse(line);
  try {
    console.log(text({ done: (await asked[what](rest)) ?? null }));
  } catch (error) {
    console.log(text({ failed: `${error.name}: ${error.message}` }));
  }
}
await store.close();
