// ---- The reference, as the description has it.

function drawReference() {
    const tags = description.tags ?? [];
    const groups = tags.map((tag) => [tag, operations().filter((operation) => operation.tags?.includes(tag.name))]);
    byId('reference').replaceChildren(
        el(
            'div',
            { class: 'card' },
            paragraph(description.info.summary ?? ''),
            paragraph(description.info.description ?? ''),
            el(
                'p',
                {},
                'For programs: ',
                el('a', { href: '/openapi.json' }, 'openapi.json'),
                ' · ',
                el('a', { href: '/openapi.yaml' }, 'openapi.yaml'),
                ` (OpenAPI ${description.openapi}, version ${description.info.version})`,
            ),
        ),
        ...groups.map(([{ name, description: said }, members]) =>
            el(
                'section',
                { class: 'card' },
                el('h2', {}, words(name)),
                el('p', { class: 'muted' }, said ?? ''),
                members.map(operationDetails),
            ),
        ),
    );
}

function operationDetails(operation) {
    const { method, path, summary, responses } = operation;
    const parameters = parametersOf(operation);
    const body = operation.requestBody && bodyOf(operation);
    const isCommand = method === 'post' && body;
    return el(
        'details',
        { class: 'operation' },
        el(
            'summary',
            {},
            el('span', { class: `method ${method}` }, method.toUpperCase()),
            ' ',
            mono(path),
            el('span', { class: 'summary' }, summary ?? ''),
        ),
        isCommand && el('p', {}, el('a', { href: `#/send/${operation.operationId}` }, 'Send it by a form')),
        body && el('h3', {}, 'Body'),
        body && table(['field', 'type', 'meaning'], rowsOf(body, '')),
        el('h3', {}, 'Parameters'),
        table(
            ['parameter', 'in', 'meaning'],
            parameters.map((p) => [mono(p.name), `${p.in}${p.required ? ', required' : ''}`, p.description ?? '']),
        ),
        el('h3', {}, 'Answers'),
        table(
            ['status', 'meaning', 'body'],
            Object.entries(responses).map(([status, given]) => {
                const response = resolved(given);
                return [
                    mono(status),
                    response.description ?? '',
                    Object.entries(response.content ?? {}).map(([kind, { schema }]) => [mono(kind), ' ', nameOf(schema)]),
                ];
            }),
        ),
        el('h3', {}, 'Example'),
        el('pre', { tabindex: '0' }, example(operation, body)),
    );
}

function nameOf(schema) {
    return schema?.$ref?.split('/').at(-1) ?? '';
}

/** Returns a row for each field of an object, and of the objects within it. */
function rowsOf(schema, prefix) {
    return fieldsOf(schema).flatMap((field) => [
        [
            mono(prefix + field.name),
            field.enum ? field.enum.filter((choice) => choice !== null).join(', ') : typesOf(field).join(', '),
            field.description ?? '',
        ],
        ...rowsOf(field, `${prefix}${field.name}.`),
    ]);
}

function table(heads, rows) {
    return el(
        'div',
        { class: 'scroll', tabindex: '0' },
        el(
            'table',
            {},
            el(
                'thead',
                {},
                el(
                    'tr',
                    {},
                    heads.map((head) => el('th', { scope: 'col' }, head)),
                ),
            ),
            el(
                'tbody',
                {},
                rows.map((row) =>
                    el(
                        'tr',
                        {},
                        row.map((cell) => el('td', {}, cell)),
                    ),
                ),
            ),
        ),
    );
}

/** Makes a line that a shell can run, with values that stand for the reader's own. */
function example({ method, path, parameters }, body) {
    const sample = (field, name) => {
        if (isReference(field)) return { externalId: 'c-1' };
        if (field.enum) return field.enum[0];
        return typesOf(field)[0] === 'integer' ? 1 : ({ requestId: 'r-1' }[name] ?? '…');
    };
    const fill = { refId: '00000000-0000-4000-8000-000000000000', requestId: 'r-1' };
    const needed = (parameters ?? [])
        .map(resolved)
        .filter((p) => p.in === 'query' && p.required)
        .map((p) => `${p.name}=c-1`);
    const query = needed.length ? `?${needed.join('&')}` : '';
    const url = `${location.origin}${path.replace(/\{(\w+)\}/g, (_, name) => fill[name] ?? name)}${query}`;
    if (method === 'get') return `curl -i '${url}'`;
    const fields = fieldsOf(body).filter(({ name }) => name !== 'expectedVersion');
    const json = JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, sample(field, field.name)])));
    return `curl -i '${url}' -H 'Content-Type: application/json' \\\n  -d '${json}'`;
}
