// Uses the gateway's page as people do: node page.mjs SETTING
//
// SETTING is JSON: `base` is the address of a gateway that has no processor so far, `guarded` that of one that wants tokens, with `reader`
// and `writer` as such tokens; `customer` and `deactivated` have the ids of customers; `pictures`, if given, is a folder for screenshots.
// When the page shows that a command has no answer yet, this program prints `processor, please`, and goes on when a line comes back.
// A check that fails ends it with exit code 1. At the end it prints what it saw, as JSON.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const { base, guarded, reader, writer, customer, deactivated, pictures } = JSON.parse(process.argv[2]);
const EVIL = `<img src=x onerror="document.title='broken in'"> \u202eevil`;
const PATIENCE = 60_000;

const executablePath = execFileSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).trim();
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
const seen = { violations: [], errors: [], elsewhere: [], requests: 0, statuses: new Set() };

/** Opens the page, and gathers all that must not happen there. */
async function open(address, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on('console', (message) => {
        // The browser itself reports each answer of 400 and above. Those to requests of the page are what the page is for.
        const isAnswer =
            message.text().startsWith('Failed to load resource') && new URL(message.location().url).pathname.startsWith('/v1/');
        if (message.type() === 'error' && !isAnswer) seen.errors.push(message.text());
        if (/content security policy|trusted/i.test(message.text())) seen.violations.push(message.text());
    });
    page.on('pageerror', (error) => seen.errors.push(String(error)));
    page.on('request', (request) => {
        seen.requests += 1;
        const { origin, protocol } = new URL(request.url());
        if (origin !== new URL(address).origin && protocol !== 'data:') seen.elsewhere.push(request.url());
    });
    page.on('response', (response) => seen.statuses.add(response.status()));
    await page.goto(address);
    await page.locator('#types input').first().waitFor({ state: 'attached' });
    return page;
}

const picture = async (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });

/** Waits until a part of the page says this. */
async function says(page, where, expected) {
    const found = page.locator(where).filter({ hasText: expected }).first();
    await found.waitFor().catch(async () => {
        assert.fail(`${where} does not say ${expected}; it says: ${await page.locator(where).allTextContents()}`);
    });
}

/** Shows another part of the page as a link there does. */
async function go(page, hash) {
    await page.evaluate((to) => (location.hash = to), hash);
    await page.locator(`section[data-view="${hash.split('/')[1]}"]`).waitFor();
}

async function lookUp(page, id, request = '') {
    await page.fill('#entity-id', id);
    await page.fill('#request-id', request);
    await page.click('#look-up button.primary');
}

/** Fills a new form of a command in, and sends it. */
async function send(page, operation, fields) {
    // The form is a new one whatever was filled in before.
    await go(page, '#/look-up');
    await go(page, `#/send/${operation}`);
    await page.locator(`#use-case option[value="${operation}"]:checked`).waitFor({ state: 'attached' });
    for (const [name, value] of Object.entries(fields)) {
        const field = page.locator(`#field-${name}`);
        if ((await field.evaluate((element) => element.tagName)) === 'SELECT') await field.selectOption(value);
        else await field.fill(value);
    }
    await page.click('#send');
}

/** Presses Tab until the focus is where it is wanted. Whatever has the focus on the way must show that. */
async function tabTo(page, selector) {
    for (let presses = 0; presses < 80; presses += 1) {
        await page.keyboard.press('Tab');
        const at = await page.evaluate((wanted) => {
            const active = document.activeElement;
            const shown = active.type === 'radio' ? active.nextElementSibling : active;
            return { isThere: active.matches(wanted), outline: getComputedStyle(shown).outlineStyle, tag: active.outerHTML.slice(0, 200) };
        }, selector);
        assert.notEqual(at.outline, 'none', `the focus can't be seen on ${at.tag}`);
        if (at.isThere) return;
    }
    assert.fail(`the keyboard does not lead to ${selector}`);
}

/** Waits until the heading with this text has the focus, so that a screen reader reads it out. */
async function focusIsOn(page, heading) {
    await page.locator('h1:focus, h2:focus').filter({ hasText: heading }).waitFor();
}

async function isNotWider(page, part) {
    const [wide, there] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(wide <= there, `${part} is ${wide} wide on a screen of ${there}`);
}

// ---- No answer yet, and then the answer.

const page = await open(base);
await send(page, 'updateCustomerCustomName', { customer: customer.externalId, customName: EVIL });
await says(page, '#answer h2', 'No answer yet');
await says(page, '#answer .banner', 'may still take effect');
await picture(page, 'in-progress');
await page.getByRole('button', { name: 'Look for the answer' }).click();
await says(page, '#answer .banner', 'still on its way');
await page.getByRole('button', { name: 'Look again' }).waitFor();
// The form has kept the request: to send it again is to ask again.
await page.click('#send');
await says(page, '#answer h2', 'No answer yet');
const answered = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
console.log('processor, please');
await answered.next();
await page.getByRole('button', { name: 'Ask again' }).click();
await says(page, '#answer h2', 'Done');
await says(page, '#answer .note', 'Nothing happened a second time');
await says(page, '#answer .transaction', 'Transaction ID');
await says(page, '#answer ins', EVIL);
assert.equal(await page.locator('img').count(), 0, 'a name is text, whatever it holds');
await picture(page, 'replay');

// ---- A look-up by each id, the history, a business transaction, and what a request was answered.

await page.getByRole('button', { name: 'Look at the customer' }).click();
await says(page, '.entity h2', EVIL);
for (const id of [customer.refId, customer.externalId]) {
    await go(page, '#/look-up');
    await lookUp(page, id);
    await says(page, '.entity', customer.refId);
    await says(page, '.entity', 'version 2');
    assert.equal(new URL(page.url()).hash, `#/look-up/customer/${customer.refId}`, 'the address has no external id');
    await says(page, '.timeline li', 'Update customer custom name');
    await says(page, '.timeline li .changes', 'Custom name from none');
}
await page.click('.timeline details summary');
await says(page, '.timeline .transaction', 'Occurred at');
await says(page, '#found', 'came by an import');
await picture(page, 'look-up');
const request = await page.locator('.timeline .id').first().textContent();
await lookUp(page, customer.externalId, request);
await says(page, '#found', 'What this request was answered');
await says(page, '#found h2', 'Done');
await lookUp(page, customer.externalId, 'never-sent');
await says(page, '#found h2', 'There is no answer to this request');
await lookUp(page, 'nobody');
await says(page, '#found h2', 'There is no such customer');
await picture(page, 'nobody');
await lookUp(page, ' ');
await says(page, '#entity-id-error', 'Please fill in an ID');

// ---- Refusals, a conflict, nothing to change, and a new id for new contents.

await send(page, 'updateCustomerState', { state: 'SUSPENDED' });
await says(page, '#answer h2', 'Refused');
await says(page, '#answer .findings', 'Please fill in: Customer.');
assert.equal(await page.getAttribute('#field-customer', 'aria-invalid'), 'true');
await picture(page, 'refused');
await send(page, 'updateCustomerSegment', { customer: customer.externalId, customerSegment: 'NO_SUCH' });
await says(page, '#answer .findings', 'There is no such segment');
await send(page, 'updateCustomerCustomName', { customer: deactivated.refId, customName: 'Ann' });
await says(page, '#answer .findings', 'deactivated, and can’t be changed');
await send(page, 'updateCustomerCustomName', { customer: customer.externalId, customName: 'Ann', expectedVersion: '1' });
await says(page, '#answer h2', 'Somebody else was faster');
assert.ok(seen.statuses.has(412), 'the page uses If-Match');
await picture(page, 'conflict');
const before = await page.inputValue('#field-requestId');
await page.fill('#field-expectedVersion', '2');
assert.notEqual(await page.inputValue('#field-requestId'), before, 'other contents are another request');
await page.click('#send');
await says(page, '#answer h2', 'Done');
assert.equal(await page.locator('#answer .note').count(), 0, 'it is no replay');
await picture(page, 'done');
await send(page, 'updateCustomerCustomName', { customer: customer.externalId, customName: 'Ann' });
await says(page, '#answer h2', 'Nothing to change');
await page.click('.options summary');
await page.check('#async');
await page.click('#send');
await says(page, '#answer h2', 'On its way');
await page.getByRole('button', { name: 'Look for the answer' }).click();
await says(page, '#answer h2', 'Nothing to change');
await page.route('**/v1/update*', (route) => route.abort());
await page.click('#send');
await says(page, '#answer h2', 'No connection');
await says(page, '#answer .banner', 'Ask again: this is safe');
await picture(page, 'no-connection');
await page.unroute('**/v1/update*');
await page.getByRole('button', { name: 'Ask again' }).click();
await says(page, '#answer h2', /On its way|Nothing to change/);
// The browser reports the connection that was cut.
seen.errors = seen.errors.filter((error) => !error.includes('net::ERR_FAILED'));

// ---- The reference, and a use case that this page has never heard of.

await go(page, '#/reference');
await page.locator('.operation', { hasText: '/v1/updateCustomerCustomName' }).locator('summary').click();
await says(page, '.operation[open]', 'customer.externalId');
await says(page, '.operation[open] pre', `curl -i '${base}/v1/updateCustomerCustomName'`);
await page.context().close();

const context = await browser.newContext();
const later = await context.newPage();
await later.route('**/openapi.json', async (route) => {
    const response = await route.fetch();
    const document = await response.json();
    const operation = structuredClone(document.paths['/v1/updateAccountCustomName'].post);
    operation.operationId = 'updateAccountTariff';
    operation.summary = 'Sets the tariff of an account.';
    const body = structuredClone(document.components.schemas.UpdateAccountCustomName);
    body.properties.tariff = { type: ['string', 'null'], enum: ['SMALL', 'LARGE', null], description: 'The tariff. Mandatory.' };
    delete body.properties.customName;
    operation.requestBody.content['application/json'].schema = { $ref: '#/components/schemas/UpdateAccountTariff' };
    document.components.schemas.UpdateAccountTariff = body;
    document.paths['/v1/updateAccountTariff'] = { post: operation };
    await route.fulfill({ response, json: document });
});
await later.goto(`${base}/#/send/updateAccountTariff`);
await says(later, '#command', 'Sets the tariff of an account.');
assert.equal(await later.locator('#use-case optgroup[label="Account"] option:checked').textContent(), 'Update account tariff');
await later.selectOption('#field-tariff', 'LARGE');
await context.close();

// ---- The keyboard alone.

const typed = await open(base);
await tabTo(typed, '#entity-id');
await typed.keyboard.type(customer.externalId);
await typed.keyboard.press('Enter');
await focusIsOn(typed, 'Ann');
await tabTo(typed, `a[href^="#/send/updateCustomerCustomName?"]`);
await typed.keyboard.press('Enter');
await focusIsOn(typed, 'Send a command');
assert.deepEqual([await typed.inputValue('#field-customer'), await typed.inputValue('#field-expectedVersion')], [customer.refId, '3']);
await tabTo(typed, '#field-customName');
await typed.keyboard.type('Ann, by keyboard');
await tabTo(typed, '#send');
await typed.keyboard.press('Enter');
await focusIsOn(typed, 'Done');
await tabTo(typed, '#answer button:not(.copy)');
await typed.keyboard.press('Space');
await says(typed, '.entity h2', 'Ann, by keyboard');
await typed.context().close();

// ---- A token, which the page forgets.

const signed = await open(guarded);
const signIn = async (token) => {
    await signed.click('#sign-in');
    await signed.fill('#token', token);
    await signed.keyboard.press('Enter');
    await signed.locator('#token-dialog').waitFor({ state: 'hidden' });
};
await lookUp(signed, customer.externalId);
await says(signed, '#found h2', 'Please sign in');
await picture(signed, 'sign-in');
await signIn(reader);
await lookUp(signed, customer.externalId);
await says(signed, '.entity h2', 'Ann, by keyboard');
await send(signed, 'updateCustomerCustomName', { customer: customer.externalId, customName: 'Bob' });
await says(signed, '#answer h2', 'You may not do this');
await signIn(writer);
await signed.click('#send');
await says(signed, '#answer h2', 'Done');
await says(signed, '#answer .transaction', 'Ann Agent');
await signIn('nonsense');
await signed.click('#send');
await says(signed, '#answer .banner', 'Your token is not taken');
const stored = await signed.evaluate(() => [
    localStorage.length,
    sessionStorage.length,
    document.cookie,
    document.documentElement.outerHTML,
]);
assert.deepEqual(stored.slice(0, 3), [0, 0, '']);
assert.ok(!stored[3].includes(writer) && !stored[3].includes(reader), 'the token is not in the page');
await signed.reload();
await says(signed, '#sign-in', /^Sign in$/);
await signed.context().close();

// ---- Each look: light and dark, wide and narrow.

for (const colorScheme of ['light', 'dark']) {
    for (const width of [1280, 360]) {
        const look = await open(base, { colorScheme, viewport: { width, height: 900 }, reducedMotion: 'reduce' });
        const name = `${colorScheme}-${width}`;
        await lookUp(look, customer.externalId);
        await says(look, '.timeline li', 'version 5');
        await isNotWider(look, 'a look-up');
        await picture(look, `look-up-${name}`);
        await send(look, 'updateCustomerCustomName', { customer: 'nobody', customName: 'x'.repeat(256) });
        await says(look, '#answer h2', 'Refused');
        await says(look, '#answer .findings', 'Custom name must have at most 255 characters');
        await isNotWider(look, 'a refusal');
        await picture(look, `refused-${name}`);
        await go(look, '#/reference');
        await look.locator('.operation summary').first().click();
        await isNotWider(look, 'the reference');
        await picture(look, `reference-${name}`);
        await look.context().close();
    }
}

// ---- What must not have happened, and that it would have been noticed.

assert.deepEqual(seen.violations, [], 'violations of the policy');
assert.deepEqual(seen.errors, [], 'errors on the console');
assert.deepEqual(seen.elsewhere, [], 'requests to other origins');
const probe = await open(base);
await probe.evaluate(() => {
    const script = document.createElement('script');
    try {
        script.textContent = 'document.title = "broken in"';
        document.body.append(script);
    } catch {
        // The policy forbids even to fill a script in.
    }
});
const throws = await probe.evaluate(() => {
    try {
        document.body.innerHTML = '<p>broken in</p>';
        return false;
    } catch {
        return true;
    }
});
assert.ok(throws, 'no text becomes HTML');
assert.notEqual(await probe.title(), 'broken in', 'no script within the page runs');
await probe.evaluate(() => fetch('http://127.0.0.1:9/').catch(() => {}));
assert.ok(seen.violations.length >= 2, `violations are noticed: ${seen.violations}`);
await browser.close();
console.log(JSON.stringify({ requests: seen.requests, statuses: [...seen.statuses].sort() }));
process.exit(0);
