// ---- Sending commands by forms that are made of the description.

/** The command whose form is shown. */
let chosen = null;
/** Whether the request id was made here. One that a person has typed is never replaced. */
let isOwnId = true;
/** Whether the request of the form got an answer that settles it, so that other contents need another id. */
let isSettled = false;

/** What a command changes, in whose group it stands: the entity that it names. */
function subjectOf({ fields }) {
    return fields.find(isReference)?.name ?? 'other';
}

/** Returns the place of a command in the choice: by the type of entity that it names. */
function rank(command) {
    return entityTypes().indexOf(subjectOf(command));
}

/** Shows the form of a command. `given` has a refId by the name of a reference, and the version that the reader saw. */
function drawForm(operationId, given) {
    const all = commands().sort((one, other) => rank(one) - rank(other));
    chosen = all.find((command) => command.operationId === operationId) ?? all[0];
    isOwnId = true;
    isSettled = false;
    const choose = (event) => {
        const { value: other } = event.target;
        history.replaceState(null, '', `#/send/${other}?${given}`);
        drawForm(other, given);
        // Whoever goes through the choice by the keyboard wants to go on.
        byId('use-case').focus();
    };
    const choice = el(
        'select',
        { id: 'use-case', onchange: choose },
        [...grouped(all)].map(([subject, members]) =>
            el(
                'optgroup',
                { label: words(subject) },
                members.map((command) =>
                    el('option', { value: command.operationId, selected: command === chosen }, words(command.operationId)),
                ),
            ),
        ),
    );
    const takesTag = parametersOf(chosen).some(({ name }) => name === 'If-Match');
    const special = ['requestId', ...(takesTag ? ['expectedVersion'] : [])];
    const fields = chosen.fields.filter(({ name }) => !special.includes(name));
    show(byId('command'), [
        el('div', { class: 'field' }, el('label', { for: 'use-case' }, 'What is to be done'), choice, hint('use-case', chosen.summary)),
        ...[...fields]
            .sort((one, other) => isReference(other) - isReference(one))
            .map((field) => (isReference(field) ? referenceField(field, given.get(field.name)) : valueField(field, field.name, ''))),
        takesTag &&
            valueField(
                {
                    name: 'expectedVersion',
                    type: 'integer',
                    description: 'The version that you saw. If somebody has changed it since, nothing is done.',
                },
                'expectedVersion',
                given.get('version') ?? '',
                'Only if the version is still',
            ),
        el(
            'details',
            { class: 'options' },
            el('summary', {}, 'Options'),
            valueField(
                {
                    name: 'requestId',
                    type: 'string',
                    description: 'Chosen for you. However often a request is sent with one ID, it takes effect once.',
                },
                'requestId',
                newRequestId(),
            ),
            el('label', { class: 'check' }, el('input', { type: 'checkbox', id: 'async' }), ' Do not wait for the answer'),
        ),
        el(
            'p',
            { class: 'buttons' },
            el('button', { class: 'primary', id: 'send' }, 'Send'),
            el('span', { id: 'id-note', class: 'muted small', role: 'status' }),
        ),
    ]);
    show(byId('answer'), el('p', { class: 'empty' }, 'The answer will be here.'));
}

/** Returns the commands by their subjects. */
function grouped(all) {
    const groups = new Map();
    for (const command of all) groups.set(subjectOf(command), [...(groups.get(subjectOf(command)) ?? []), command]);
    return groups;
}

function hint(of, said) {
    return [el('p', { class: 'hint', id: `${of}-hint` }, said ?? ''), el('p', { class: 'field-error', id: `${of}-error` })];
}

/** Makes a field for a value. `path` is the path by which findings name it. */
function valueField(field, path, given, label = words(field.name)) {
    const id = `field-${path}`;
    const isMandatory = /\bMandatory\b/.test(field.description ?? '');
    const common = {
        id,
        'data-path': path,
        'data-type': typesOf(field)[0],
        'aria-describedby': `${id}-hint ${id}-error`,
        'aria-required': isMandatory && 'true',
    };
    const choices = field.enum?.filter((choice) => choice !== null);
    const input = choices
        ? el(
              'select',
              common,
              el('option', { value: '' }, '—'),
              choices.map((choice) => el('option', { value: choice }, choice)),
          )
        : el('input', {
              ...common,
              value: given,
              autocomplete: 'off',
              spellcheck: 'false',
              inputmode: typesOf(field)[0] === 'integer' && 'numeric',
          });
    const mark = isMandatory ? null : el('span', { class: 'optional' }, ' optional');
    const said = (field.description ?? '').replace(/\s*\bMandatory\.?/, '');
    return el('div', { class: 'field' }, el('label', { for: id }, label, path === 'requestId' ? null : mark), input, hint(id, said));
}

/** Makes a field for a reference: one text, and the choice which of the two ids it is. */
function referenceField(field, refId) {
    const id = `field-${field.name}`;
    const kinds = Object.keys(field.properties);
    const kind = refId ? 'refId' : 'externalId';
    return el(
        'fieldset',
        { class: 'field reference', 'data-reference': field.name },
        el('legend', {}, words(field.name)),
        el(
            'div',
            { class: 'segments' },
            kinds.map((name) =>
                el(
                    'label',
                    {},
                    el('input', { type: 'radio', name: `kind-${field.name}`, value: name, checked: name === kind }),
                    el('span', {}, words(name)),
                ),
            ),
        ),
        el('input', {
            id,
            value: refId ?? '',
            autocomplete: 'off',
            spellcheck: 'false',
            autocapitalize: 'off',
            'aria-label': `ID of the ${field.name}`,
            'aria-describedby': `${id}-hint ${id}-error`,
            'aria-required': 'true',
        }),
        hint(id, ''),
    );
}

/** Reads the form: the body of the command, and its headers. Empty fields are left out. */
function readForm() {
    const form = byId('command');
    const body = {};
    const headers = {};
    for (const input of form.querySelectorAll('[data-path]')) {
        const { path, type } = input.dataset;
        const given = input.value;
        if (given === '') continue;
        if (path === 'expectedVersion' && parametersOf(chosen).some(({ name }) => name === 'If-Match'))
            headers['If-Match'] = `"${given.trim()}"`;
        else body[path] = type === 'integer' && /^-?\d+$/.test(given.trim()) ? Number(given) : given;
    }
    for (const group of form.querySelectorAll('[data-reference]')) {
        const name = group.dataset.reference;
        const kind = form.querySelector(`[name="kind-${name}"]:checked`).value;
        const id = byId(`field-${name}`).value.trim();
        if (id !== '') body[name] = { [kind]: id };
    }
    if (byId('async').checked) headers.Prefer = 'respond-async';
    return { body, headers };
}

/** Marks the fields that the findings name. */
function mark(errors) {
    const form = byId('command');
    for (const input of form.querySelectorAll('[aria-invalid]')) input.removeAttribute('aria-invalid');
    for (const message of form.querySelectorAll('.field-error')) message.textContent = '';
    const type = subjectOf(chosen);
    for (const error of errors) {
        const name = error.field?.split('.')[0];
        const input = name && byId(`field-${name}`);
        if (!input) continue;
        input.setAttribute('aria-invalid', 'true');
        byId(`field-${name}-error`).textContent = inPlainWords(error, type);
        input.closest('details')?.setAttribute('open', '');
    }
}

/** Sends a request, and shows what it was answered. The same request may be sent again, with the same id. */
async function send(path, request) {
    const region = byId('answer');
    const sent = chosen;
    byId('send').setAttribute('aria-disabled', 'true');
    byId('id-note').textContent = '';
    show(region, waiting('Waiting for the answer …'), { busy: true });
    const answer = await ask('POST', path, request);
    if (chosen !== sent) return;
    byId('send').removeAttribute('aria-disabled');
    isSettled = isFinal(answer);
    mark(answer.body?.errors ?? []);
    const type = subjectOf(sent);
    const reference = request.body[type];
    const id = answer.body?.businessTransaction?.refId ?? reference?.refId ?? reference?.externalId;
    const place = answer.headers.get('location');
    const outcome = place && (() => findOutcome(place, request, type));
    show(region, verdict(answer, { type, again: () => send(path, request), look: id && (() => goTo(type, id)), outcome }), { focus: true });
}

/** Looks at the place at which the outcome of a request will be. */
async function findOutcome(place, request, type) {
    const region = byId('answer');
    show(region, waiting('Looking for the answer …'), { busy: true });
    const answer = await ask('GET', place);
    const retry = button('Look again', () => findOutcome(place, request, type), 'primary');
    if (answer.status === 404)
        show(region, [banner('wait', 'No answer yet', paragraph('The command is still on its way.')), retry, wire(answer)], {
            focus: true,
        });
    else if (answer.status === 200) show(region, verdict(asAnswer(answer), { type }), { focus: true });
    else show(region, [trouble(answer), retry, wire(answer)], { focus: true });
}

/** Shows an entity in the other part of the page. */
function goTo(type, id) {
    document.querySelector(`[name="type"][value="${type}"]`).checked = true;
    byId('entity-id').value = id;
    byId('request-id').value = '';
    if (isUuid(id)) location.hash = `#/look-up/${type}/${id}`;
    else {
        history.pushState(null, '', '#/look-up');
        route({ keepFound: true });
        lookUp(type, id);
    }
}

function startCommands() {
    const form = byId('command');
    form.addEventListener('submit', (event) => {
        event.preventDefault();
        if (byId('send').getAttribute('aria-disabled') !== 'true') send(chosen.path, readForm());
    });
    form.addEventListener('input', (event) => {
        const input = event.target;
        input.removeAttribute('aria-invalid');
        if (input.id === 'field-requestId') isOwnId = false;
        // The old id stands for the old contents.
        else if (isSettled && isOwnId && input.id !== 'use-case' && input.id !== 'async') {
            isSettled = false;
            byId('field-requestId').value = newRequestId();
            byId('id-note').textContent = 'This is a new request now, with a new ID.';
        }
        const reference = input.type !== 'radio' && input.closest('[data-reference]');
        if (reference) {
            // What looks like a refId most likely is one, and nothing else can be. Whoever knows better chooses afterwards.
            const kind = isUuid(input.value.trim()) ? 'refId' : 'externalId';
            reference.querySelector(`[value="${kind}"]`).checked = true;
        }
    });
}
