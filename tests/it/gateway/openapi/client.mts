// Sends commands with a client that was made of the description: node client.mjs BASE REQUEST REF_ID
//
// `api.d.ts` is what openapi-typescript makes. That this file compiles shows that the types fit what is sent and read here, and the lines
// below `@ts-expect-error` show that they fit nothing else. Prints what came back, as JSON.

import createClient from 'openapi-fetch';
import type { components, paths } from './api.d.ts';

declare const process: { argv: string[] };
declare const console: { log(text: string): void };

const [base, requestId, refId] = process.argv.slice(2) as [string, string, string];
const client = createClient<paths>({ baseUrl: base });

const done = await client.POST('/v1/updateCustomerState', {
    params: { header: { 'If-Match': '"1"', 'correlation-id': 'typed' } },
    body: { requestId, customer: { refId }, state: 'SUSPENDED', stateReason: 'unpaid' },
});
// A command that is not waited for is answered with its request id alone.
const reply = done.data && 'businessTransaction' in done.data ? done.data : undefined;
const state: components['schemas']['State'] | undefined = reply?.businessTransaction?.customer?.state;
const refused = await client.POST('/v1/updateCustomerState', {
    params: { header: { 'If-Match': '"1"' } },
    body: { requestId: `${requestId}-again`, customer: { refId }, state: 'ACTIVE' },
});
const code: string | undefined = refused.error?.errors[0]?.code;
const found = await client.GET('/v1/customers/{refId}', { params: { path: { refId } } });
const since: number | null | undefined = found.data?.entity.stateValidFrom;
const history = await client.GET('/v1/customers/{refId}/history', { params: { path: { refId }, query: { limit: 10 } } });
const changes = history.data?.history[0]?.changes.map(({ field }) => field);

/** What must not compile. It is never called. */
export async function wrong(): Promise<void> {
    // @ts-expect-error There is no such state.
    await client.POST('/v1/updateCustomerState', { body: { requestId, customer: { refId }, state: 'SOLD' } });
    // @ts-expect-error A version is a number.
    await client.POST('/v1/updateCustomerState', { body: { requestId, customer: { refId }, state: 'ACTIVE', expectedVersion: '1' } });
    // @ts-expect-error The state is missing.
    await client.POST('/v1/updateCustomerState', { body: { requestId, customer: { refId } } });
    // @ts-expect-error A reference has one of the two ids.
    await client.POST('/v1/updateCustomerState', { body: { requestId, customer: { refId, externalId: 'c-1' }, state: 'ACTIVE' } });
    // @ts-expect-error There is no such use case.
    await client.POST('/v1/updateEverything', { body: {} });
    // @ts-expect-error The external id is missing.
    await client.GET('/v1/customers', {});
}

console.log(JSON.stringify({ status: done.response.status, state, refused: refused.response.status, code, since, changes }));
