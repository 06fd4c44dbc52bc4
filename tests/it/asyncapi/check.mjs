// Checks an AsyncAPI document: node check.mjs FILE
//
// AsyncAPI's parser knows the document's form, and Avro by its plug-in. It leaves examples alone, so they are held here against
// what it made of the schemas. Prints what is wrong, with exit code 1; or else, as JSON, the examples of each message.

import { readFileSync } from 'node:fs';
import { AvroSchemaParser } from '@asyncapi/avro-schema-parser';
import { Parser } from '@asyncapi/parser';
import { Ajv } from 'ajv';

const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
const { document, diagnostics } = await parser.parse(readFileSync(process.argv[2], 'utf8'));
const findings = diagnostics
  // Version 3.0 is what other tools understand today.
  .filter(({ code }) => code !== 'asyncapi-latest-version')
  .map(({ path, code, message }) => `${path.join('.')}: ${message} (${code})`);

const examples = {};
for (const message of document?.components().messages().all() ?? []) {
  examples[message.id()] = { name: message.name(), examples: message.examples().all().map((example) => example.json()) };
  for (const part of ['headers', 'payload']) {
    const described = message[part]()?.json();
    const schema = described?.schema ?? described;
    // `x-…` are the parser's own words, formats are annotations.
    const valid = schema && new Ajv({ strict: false, validateFormats: false }).compile(schema);
    for (const example of examples[message.id()].examples) {
      if (schema && !valid(example[part])) {
        findings.push(`${message.id()}, ${part} of the example ${example.name}: ${JSON.stringify(valid.errors)}`);
      }
    }
  }
}
findings.forEach((finding) => console.error(finding));
if (findings.length > 0) process.exit(1);
console.log(JSON.stringify(examples));
