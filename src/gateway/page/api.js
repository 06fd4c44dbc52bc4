// The page for people. It knows the API by its OpenAPI document alone: forms, names of fields and the reference come from there, so that a
// new use case needs no line here. Whatever comes from the API becomes text (`textContent`), and never HTML.
//
// The files of this folder are served as one module, in this order: api, parts, look_up, command, verdict, reference, start.

/** The OpenAPI document. */
let description = null;

/** The bearer token, which is kept in memory only. */
let token = '';

/** What happens when nobody answers: the status of such an answer. */
const NO_ANSWER = 0;

/** Returns the bearer token's header, if there is a token. */
function credentials() {
    return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Asks the gateway. Returns the status, the headers, the body (null if it is no JSON), and the text of the body. */
async function ask(method, path, { headers = {}, body } = {}) {
    const content = body === undefined ? {} : { 'Content-Type': 'application/json' };
    try {
        const response = await fetch(path, {
            method,
            headers: { Accept: 'application/json', ...content, ...credentials(), ...headers },
            body: body === undefined ? undefined : JSON.stringify(body),
            // People want what is true now: the browser adds `Cache-Control: no-cache`, with which the gateway misses nothing.
            cache: 'no-store',
            redirect: 'error',
        });
        const text = await response.text();
        return { status: response.status, headers: response.headers, body: parsed(text), text };
    } catch {
        return { status: NO_ANSWER, headers: new Headers(), body: null, text: '' };
    }
}

function parsed(text) {
    try {
        return JSON.parse(text);
    } catch {
        return null;
    }
}

/** Follows a reference within the document. */
function resolved(part) {
    const pointer = part?.$ref;
    if (pointer === undefined) return part;
    const found = pointer
        .replace(/^#\//, '')
        .split('/')
        .reduce((at, step) => at?.[step.replaceAll('~1', '/').replaceAll('~0', '~')], description);
    return { ...found, ...(part.description ? { description: part.description } : {}) };
}

/** Returns a schema without the choice of null, and with its references followed. */
function plain(schema) {
    const whole = resolved(schema);
    // Where there are properties, the branches say only which of these belong together.
    const branches = whole?.properties ? undefined : (whole?.oneOf ?? whole?.anyOf);
    const branch = branches?.find(({ type }) => type !== 'null');
    return branch ? { ...plain(branch), ...(whole.description ? { description: whole.description } : {}) } : (whole ?? {});
}

/** Returns the types of a schema, but for null. */
function typesOf(schema) {
    return [schema.type].flat().filter((type) => type && type !== 'null');
}

/** Returns all operations with their paths and methods, in the order of the document. */
function operations() {
    return Object.entries(description.paths).flatMap(([path, item]) =>
        ['get', 'post'].filter((method) => item[method]).map((method) => ({ path, method, ...item[method] })),
    );
}

/** Returns the parameters of an operation. */
function parametersOf(operation) {
    return (operation.parameters ?? []).map(resolved);
}

/** Returns the schema of an operation's JSON body, or undefined if it has none. */
function bodyOf(operation) {
    return plain(operation.requestBody?.content?.['application/json']?.schema);
}

/** Returns the commands, each with the fields of its body. */
function commands() {
    return operations()
        .filter(({ method, requestBody }) => method === 'post' && requestBody)
        .map((operation) => ({ ...operation, fields: fieldsOf(bodyOf(operation)) }));
}

/** Returns the fields of an object's schema. */
function fieldsOf(schema) {
    return Object.entries(schema.properties ?? {}).map(([name, field]) => ({ name, ...plain(field) }));
}

/** Returns whether a field names an entity by one of its ids. */
function isReference(field) {
    return Boolean(field.properties?.externalId && field.properties?.refId);
}

/** Returns the types of entities that can be looked up, such as `customer`, in the order of the business. The paths have their plurals. */
function entityTypes() {
    const order = description.components.schemas.EntityType?.enum ?? [];
    const rank = (type) => order.indexOf(type.toUpperCase());
    return operations()
        .filter(({ method }) => method === 'get')
        .map(({ path }) => /^\/v1\/([a-z]+)s$/i.exec(path)?.[1])
        .filter(Boolean)
        .sort((one, other) => rank(one) - rank(other));
}

/** Returns the path at which an entity is found. */
function entityPath(type, refId) {
    return `/v1/${type}s/${encodeURIComponent(refId)}`;
}

/** Returns the path at which the outcome of a request is found. */
function outcomePath(type, id, requestId) {
    const request = encodeURIComponent(requestId);
    return isUuid(id)
        ? `${entityPath(type, id)}/requests/${request}`
        : `/v1/${type}s/requests/${request}?externalId=${encodeURIComponent(id)}`;
}

function isUuid(text) {
    return /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(text);
}

/** Makes a new request id. `crypto.randomUUID` would need TLS. */
function newRequestId() {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
