// ---- Looking entities up: their values, their history, and what a request was answered.

/** The look-up that is shown. Answers to earlier ones are dropped. */
let lookUps = 0;
/** How many changes of a history are shown at first, and further ones at a time. */
const HISTORY_PAGE = 20;

function drawTypes() {
    byId('types').replaceChildren(
        ...entityTypes().map((type, at) =>
            el('label', {}, el('input', { type: 'radio', name: 'type', value: type, checked: at === 0 }), el('span', {}, words(type))),
        ),
    );
}

function chosenType() {
    return new FormData(byId('look-up')).get('type');
}

/** Shows what the address names: `#/look-up/<type>/<refId>`, and from the form also external ids and requests. */
async function lookUp(type, id, requestId = '') {
    const turn = (lookUps += 1);
    const region = byId('found');
    show(region, el('div', { class: 'card' }, waiting(`Looking the ${type} up …`)), { busy: true });
    const { shown, refId } = requestId ? await foundOutcome(type, id, requestId) : await foundEntity(type, id);
    if (turn !== lookUps) return;
    const isSeen = !region.closest('section').hidden;
    // Whoever copies the address gets here again. It has the refId alone, which says nothing about a person.
    if (refId && isSeen) history.replaceState(null, '', `#/look-up/${type}/${refId}`);
    show(region, shown, { focus: isSeen });
}

/** Returns what is shown when something else was answered than what was looked for. */
function instead(...children) {
    return { shown: el('div', { class: 'card' }, ...children) };
}

/** Finds an entity by either id. What looks like a refId may be an external id, too. */
async function foundEntity(type, id) {
    const byExternalId = `/v1/${type}s?externalId=${encodeURIComponent(id)}`;
    let answer = await ask('GET', isUuid(id) ? entityPath(type, id) : byExternalId);
    if (answer.status === 404 && isUuid(id)) answer = await ask('GET', byExternalId);
    if (answer.status === 404) {
        return instead(
            banner(
                'none',
                `There is no such ${type}`,
                paragraph(
                    'Nothing has the ID ',
                    text(id),
                    '. Capitals count, and an external ID that was given up does not lead to its ',
                    type,
                    ' any more.',
                ),
            ),
        );
    }
    if (answer.status !== 200) return instead(trouble(answer), wire(answer));
    const { entity, version } = answer.body;
    const timeline = el('div', { class: 'card' });
    drawHistory(timeline, type, entity, version);
    return { shown: [entityCard(type, entity, version), timeline], refId: entity.refId };
}

function entityCard(type, entity, version) {
    const schema = plain(description.components.schemas[`${words(type)}Shown`]);
    const again = () => lookUp(type, entity.refId);
    const own = commands().filter(({ fields }) => fields.some((field) => field.name === type && isReference(field)));
    const links = own.map(({ operationId, summary }) =>
        el(
            'li',
            {},
            el(
                'a',
                { href: `#/send/${operationId}?${type}=${entity.refId}&version=${version}`, title: summary },
                shortName(operationId, type),
            ),
        ),
    );
    return el(
        'article',
        { class: 'card entity' },
        el(
            'header',
            {},
            el(
                'div',
                {},
                el('p', { class: 'eyebrow' }, words(type)),
                el('h2', { tabindex: '-1' }, text(entity.customName ?? entity.externalId)),
            ),
            el(
                'p',
                { class: 'marks' },
                badge(entity.state),
                el('span', { class: 'badge calm' }, `version ${version}`),
                button('Refresh', again, 'quiet'),
            ),
        ),
        record(entity, schema),
        el('div', { class: 'actions' }, el('h3', {}, 'Change'), el('ul', {}, links)),
    );
}

/** Shortens the name of a command beside an entity of its type: `updateCustomerCustomName` becomes `Custom name`. */
function shortName(operationId, type) {
    const rest = operationId.replace(new RegExp(`^update${type}`, 'i'), '');
    return words(rest.charAt(0).toLowerCase() + rest.slice(1));
}

async function drawHistory(region, type, entity, version) {
    const list = el('ol', { class: 'timeline' });
    const more = el('div');
    region.replaceChildren(el('h2', {}, 'History'), list, more);
    const page = async (path) => {
        more.replaceChildren(waiting('Loading the history …'));
        const answer = await ask('GET', path);
        if (answer.status !== 200) {
            more.replaceChildren(
                trouble(answer),
                button('Try again', () => page(path)),
            );
            return;
        }
        const entries = answer.body.history;
        const first = list.children.length;
        list.append(...entries.map((entry) => historyEntry(type, entity.refId, entry)));
        const next = /^<([^>]+)>; rel="next"$/.exec(answer.headers.get('link') ?? '')?.[1];
        const oldest = entries.at(-1)?.version ?? version + 1;
        if (next) {
            const older = async () => {
                await page(next);
                list.children[first + entries.length]?.querySelector('h3')?.focus();
            };
            more.replaceChildren(button('Show older changes', older));
        } else if (oldest > 1) {
            more.replaceChildren(
                el('p', { class: 'muted' }, `The ${type} came by an import (version 1). An import is no change, and has no entry here.`),
            );
        } else {
            more.replaceChildren();
        }
    };
    await page(`${entityPath(type, entity.refId)}/history?limit=${HISTORY_PAGE}`);
}

function historyEntry(type, refId, { version, occurredAt, useCase, requestId, changes: list }) {
    const outcome = el('div');
    const load = async (event) => {
        if (!event.currentTarget.open || outcome.hasChildNodes()) return;
        outcome.replaceChildren(waiting('Loading …'));
        const answer = await ask('GET', outcomePath(type, refId, requestId));
        const done = answer.body?.businessTransaction;
        if (answer.status === 200 && done) outcome.replaceChildren(transactionFields(done), wire(answer));
        else outcome.replaceChildren(trouble(answer), wire(answer));
    };
    return el(
        'li',
        {},
        el('p', { class: 'when' }, time(occurredAt), el('span', { class: 'badge calm' }, `version ${version}`)),
        el('h3', { tabindex: '-1' }, words(useCase)),
        changes(list),
        el('p', { class: 'muted small' }, 'Request ', el('bdi', { class: 'id' }, requestId)),
        el('details', { ontoggle: load }, el('summary', {}, 'Business transaction'), outcome),
    );
}

/** Finds what a request was answered. */
async function foundOutcome(type, id, requestId) {
    const answer = await ask('GET', outcomePath(type, id, requestId));
    if (answer.status === 404) {
        const say = 'It may still be on its way, it may never have been sent, or it is so old that its answer was forgotten. ';
        return instead(
            banner(
                'none',
                'There is no answer to this request',
                paragraph(say, 'Check both IDs, and look again in a moment.'),
                button('Look again', () => lookUp(type, id, requestId)),
            ),
            wire(answer),
        );
    }
    if (answer.status !== 200) return instead(trouble(answer), wire(answer));
    return instead(el('p', { class: 'eyebrow' }, 'What this request was answered'), ...verdict(asAnswer(answer), { type }));
}

/** Takes a reply that was found as the answer that the command got: a refusal stands in it as a reply. */
function asAnswer(answer) {
    return { ...answer, status: answer.body.statusCode, isFound: true };
}

function startLookUp() {
    drawTypes();
    byId('look-up').addEventListener('submit', (event) => {
        event.preventDefault();
        const [field, message] = [byId('entity-id'), byId('entity-id-error')];
        const id = field.value.trim();
        message.textContent = id ? '' : 'Please fill in an ID.';
        field.setAttribute('aria-invalid', String(!id));
        if (!id) return field.focus();
        return lookUp(chosenType(), id, byId('request-id').value.trim());
    });
}
