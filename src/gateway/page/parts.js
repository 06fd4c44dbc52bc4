// ---- Parts of the page: elements, words and values.

/** Makes an element. Children that are no elements become text. Names that begin with `on` are listeners. */
function el(tag, properties = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(properties)) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
        else element.setAttribute(name, value === true ? '' : value);
    }
    element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return element;
}

const byId = (id) => document.getElementById(id);

/** Makes words of a name of the API: `customName` becomes `Custom name`. */
function words(name) {
    const spaced = name
        .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
        .toLowerCase()
        .replace(/\bid\b/g, 'ID');
    return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

/** Makes words of the path of a field: `customer.externalId` becomes `Customer: external ID`. */
function wordsOfPath(path) {
    const [first, ...rest] = path.split('.').map(words);
    return [first, ...rest.map((part) => part.charAt(0).toLowerCase() + part.slice(1))].join(': ');
}

/** Shows a text of the API as it is. What is written from right to left does not disturb what stands beside it. */
function text(value) {
    return el('bdi', { class: 'value' }, String(value));
}

function mono(value) {
    return el('code', {}, String(value));
}

const nothing = () => el('span', { class: 'none' }, 'none');

/** Shows an instant in the time of the reader. */
function time(instant) {
    const date = new Date(instant);
    if (Number.isNaN(date.getTime())) return text(instant);
    const shown = date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
    return el('time', { datetime: date.toISOString(), title: date.toISOString() }, shown);
}

const STATES = { ACTIVE: 'good', INACTIVE: 'calm', SUSPENDED: 'warn', DEACTIVATED: 'bad' };

function badge(state) {
    return el('span', { class: `badge ${STATES[state] ?? 'calm'}` }, state);
}

/** Shows a value of a record. `schema` says whether it is a time. */
function value(given, schema = {}, name = '') {
    if (given === null || given === undefined || given === '') return nothing();
    if (schema.format === 'date-time' || schema['x-unit'] === 'milliseconds since 1970') return time(given);
    if (name === 'state') return badge(given);
    const type = /^(.+)RefId$/.exec(name)?.[1];
    if (type && entityTypes().includes(type)) return el('a', { href: `#/look-up/${type}/${given}`, class: 'id' }, given);
    if (name.endsWith('Id')) return [el('bdi', { class: 'id' }, given), copyButton(given, words(name))];
    return text(given);
}

function copyButton(given, what) {
    const copy = async (event) => {
        const button = event.currentTarget;
        try {
            await navigator.clipboard.writeText(given);
            button.textContent = 'Copied';
        } catch {
            // Without TLS a page may not write there.
            const range = document.createRange();
            range.selectNodeContents(button.previousElementSibling);
            getSelection().removeAllRanges();
            getSelection().addRange(range);
            button.textContent = 'Selected';
        }
        setTimeout(() => (button.textContent = 'Copy'), 1500);
    };
    return el('button', { type: 'button', class: 'copy', 'aria-label': `Copy ${what}`, onclick: copy }, 'Copy');
}

/** The fields that stand first in a record. JSON says nothing of the order of the others. */
const FIRST = ['useCase', 'occurredAt', 'actor', 'version', 'externalId', 'refId'];

/** Shows the fields of a record, but for those in `hidden`. */
function record(fields, schema, hidden = []) {
    const schemas = Object.fromEntries(fieldsOf(schema).map((field) => [field.name, field]));
    const rank = ([name]) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
    const rows = Object.entries(fields)
        .filter(([name]) => !hidden.includes(name))
        .sort((one, other) => rank(one) - rank(other));
    return el(
        'dl',
        { class: 'record' },
        rows.map(([name, given]) => [
            el('dt', { title: schemas[name]?.description }, words(name)),
            el('dd', {}, value(given, schemas[name], name)),
        ]),
    );
}

/** Shows what changed: each attribute with its value before and after. */
function changes(list) {
    const side = (tag, word, given) => [el('span', { class: 'unseen' }, word), given === null ? nothing() : el(tag, {}, text(given))];
    return el(
        'ul',
        { class: 'changes' },
        list.map(({ field, old, new: now }) =>
            el(
                'li',
                {},
                el('span', { class: 'what' }, words(field)),
                ' ',
                side('del', 'from ', old),
                el('span', { class: 'arrow', 'aria-hidden': 'true' }, ' → '),
                side('ins', ' to ', now),
            ),
        ),
    );
}

/** Shows a business transaction: what was changed, and what else it says. */
function transaction(done) {
    return el(
        'div',
        { class: 'transaction' },
        el('h3', {}, 'Business transaction'),
        done.changes.length ? changes(done.changes) : el('p', { class: 'muted' }, 'No changes.'),
        transactionFields(done),
    );
}

/** Shows the fields of a business transaction, and the entity afterwards. */
function transactionFields(done) {
    const schema = plain(description.components.schemas.BusinessTransaction);
    const type = entityTypes().find((name) => done[name]);
    return el(
        'div',
        { class: 'transaction' },
        record(done, schema, ['changes', ...entityTypes(), 'previousVersion', 'entityType']),
        type && el('details', {}, el('summary', {}, `The ${type} afterwards`), record(done[type], plain(schema.properties[type]))),
    );
}

/** Shows what went over the wire, for those who write clients. */
function wire(answer) {
    const names = [
        'content-type',
        'etag',
        'idempotent-replayed',
        'retry-after',
        'location',
        'preference-applied',
        'correlation-id',
        'www-authenticate',
    ];
    const headers = names.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
    const body = answer.body ? JSON.stringify(answer.body, null, 2) : answer.text;
    return el(
        'details',
        { class: 'wire' },
        el('summary', {}, 'For developers: the answer as it came'),
        el('pre', { tabindex: '0' }, [`HTTP ${answer.status || '(no answer)'}`, ...headers, '', body].join('\n')),
    );
}

/** Shows a verdict: a heading with a tone, and what belongs to it. The tone is said by a sign and by words, not by colour alone. */
function banner(tone, title, ...children) {
    const sign = { good: '✓', calm: '=', none: '?', warn: '!', bad: '✕', wait: '…' }[tone];
    return el(
        'div',
        { class: `banner ${tone}` },
        el('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
        el('div', {}, el('h2', { tabindex: '-1' }, title), ...children),
    );
}

function paragraph(...children) {
    return el('p', {}, ...children);
}

function button(label, onclick, kind = '') {
    return el('button', { type: 'button', class: kind, onclick }, label);
}

/** Replaces what a region shows, and moves the focus to its heading if there is one and the reader waits for it. */
function show(region, children, { busy = false, focus = false } = {}) {
    region.setAttribute('aria-busy', String(busy));
    region.replaceChildren(...[children].flat(Infinity).filter(Boolean));
    if (focus) region.querySelector('h2')?.focus();
}

function waiting(what) {
    return el('p', { class: 'waiting' }, el('span', { class: 'spinner', 'aria-hidden': 'true' }), what);
}
