// Sends a command to crm-processor with KafkaJS and waits for its reply. Node 18 or later:
//
//     cd examples/node
//     npm ci
//     node client.mjs 127.0.0.1:9092 http://127.0.0.1:8081 crm.commands crm.replies \
//         c-1 UpdateCustomerCustomName '{"requestId": "r-1", "customer": {"externalId": "c-1"}, "customName": "Ada"}'
//
// c-1 is the record's key. Fields of the command that are left out are null. Prints the reply as JSON. Exit code 0: done,
// 1: refused, or an error that it prints, 3: no reply in time; after an error and after 3 send it again, with the same request id.

import avro from 'avsc';
import { randomUUID } from 'node:crypto';
import { Kafka, Partitioners, logLevel } from 'kafkajs';

const PATIENCE_MS = 30_000;
const [bootstrapServers, registryUrl, commands, replies, key, name, fields] = process.argv.slice(2);
if (!fields) {
  console.error('usage: client.mjs BOOTSTRAP_SERVERS REGISTRY_URL COMMAND_TOPIC REPLY_TOPIC KEY COMMAND FIELDS');
  process.exit(2);
}

const kafka = new Kafka({ brokers: bootstrapServers.split(','), logLevel: logLevel.ERROR });
const reply = await ask(key, name, JSON.parse(fields));
console.log(reply ? JSON.stringify(reply) : `no reply after ${PATIENCE_MS} ms`);
process.exit(!reply ? 3 : reply.statusCode === 200 ? 0 : 1);

/** Sends a command; the reply to it, or undefined if there is none in time. */
async function ask(key, name, fields) {
  const correlationId = randomUUID();
  // KafkaJS leaves records of aborted transactions out (read_committed) unless it is told `readUncommitted: true`.
  const consumer = kafka.consumer({ groupId: `crm-node-example-${correlationId}` });
  // The key names the entity, so that its commands stay in order. This partitioner puts it where Java's does.
  const createPartitioner = Partitioners.DefaultPartitioner;
  // Its own retries neither double a command nor put it behind a later one.
  const producer = kafka.producer({ createPartitioner, idempotent: true, maxInFlightRequests: 1 });
  const admin = kafka.admin();
  await Promise.all([consumer.connect(), producer.connect(), admin.connect()]);
  try {
    const ends = await admin.fetchTopicOffsets(replies);
    await consumer.subscribe({ topic: replies });
    const answered = new Promise((resolve, reject) => {
      const eachMessage = async ({ message }) => {
        if (message.headers['correlation-id']?.toString() === correlationId) resolve(await decode(message.value));
      };
      consumer.run({ autoCommit: false, eachMessage }).catch(reject);
    });
    // The reply will be behind what is there now.
    for (const { partition, offset } of ends) consumer.seek({ topic: replies, partition, offset });
    const value = await encode(`${commands}-crm.v1.${name}`, fields);
    await producer.send({ topic: commands, messages: [{ key, value, headers: { 'correlation-id': correlationId } }] });
    return await Promise.race([answered, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
  } finally {
    await Promise.all([consumer.disconnect(), producer.disconnect(), admin.disconnect()]);
  }
}

/** The Confluent wire format: byte 0, the schema's id as 4 bytes big-endian, Avro binary. */
async function encode(subject, value) {
  const { id, schema } = await registry(`/subjects/${subject}/versions/latest`);
  const head = Buffer.alloc(5);
  head.writeUInt32BE(id, 1);
  return Buffer.concat([head, typeOf(schema).toBuffer(value)]);
}

async function decode(bytes) {
  if (bytes[0] !== 0) throw new Error('not in the Confluent wire format');
  const { schema } = await registry(`/schemas/ids/${bytes.readUInt32BE(1)}`);
  return typeOf(schema).fromBuffer(bytes.subarray(5));
}

/** Values of unions as they are, not wrapped in an object that names their type: only null stands beside another type here. */
function typeOf(schema) {
  return avro.Type.forSchema(JSON.parse(schema), { wrapUnions: false });
}

async function registry(path) {
  const response = await fetch(registryUrl + path);
  if (!response.ok) throw new Error(`${response.url} answered ${response.status}: ${await response.text()}`);
  return response.json();
}
