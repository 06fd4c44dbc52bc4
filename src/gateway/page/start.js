// ---- The parts of the page by its address, the token, and the start.

const VIEWS = ['look-up', 'send', 'reference'];
const TITLES = { 'look-up': 'Look up', send: 'Send a command', reference: 'Reference' };

/** Shows the part of the page that the address names, such as `#/send/updateCustomerSegment?customer=…&version=3`. */
function route({ keepFound = false } = {}) {
    const [path, query] = location.hash.replace(/^#\/?/, '').split('?');
    const [named, first, second] = path.split('/');
    const view = VIEWS.includes(named) ? named : VIEWS[0];
    for (const section of document.querySelectorAll('main > section')) section.hidden = section.dataset.view !== view;
    for (const link of document.querySelectorAll('.bar nav a')) {
        if (link.dataset.view === view) link.setAttribute('aria-current', 'page');
        else link.removeAttribute('aria-current');
    }
    document.title = `${TITLES[view]} · crm-processor`;
    if (view === 'send') drawForm(first, new URLSearchParams(query));
    if (view === 'look-up' && !keepFound) {
        if (second && entityTypes().includes(first)) {
            document.querySelector(`[name="type"][value="${first}"]`).checked = true;
            byId('entity-id').value = second;
            lookUp(first, second);
        } else {
            show(
                byId('found'),
                el('div', { class: 'card' }, el('p', { class: 'empty' }, 'Fill in an ID to see the present values and the history.')),
            );
        }
    }
    return view;
}

/** Follows a link within the page: the reader hears where it led. */
function follow() {
    const view = route();
    document.querySelector(`section[data-view="${view}"] h1`).focus({ preventScroll: false });
}

function askForToken() {
    byId('token').value = '';
    byId('token-dialog').showModal();
}

function startToken() {
    byId('sign-in').addEventListener('click', askForToken);
    byId('token-dialog').addEventListener('close', (event) => {
        const dialog = event.currentTarget;
        const given = byId('token')
            .value.trim()
            .replace(/^Bearer\s+/i, '');
        // It shall not stay in the page.
        byId('token').value = '';
        if (dialog.returnValue === 'use' && given) token = given;
        if (dialog.returnValue === 'forget') token = '';
        dialog.returnValue = '';
        byId('sign-in').textContent = token ? 'Signed in' : 'Sign in';
        byId('sign-in').classList.toggle('on', Boolean(token));
    });
}

async function start() {
    startToken();
    const answer = await ask('GET', '/openapi.json');
    if (answer.status !== 200 || !answer.body?.paths) {
        show(
            byId('trouble'),
            el(
                'div',
                { class: 'card' },
                trouble(answer),
                button('Try again', () => location.reload(), 'primary'),
            ),
        );
        return;
    }
    description = answer.body;
    startLookUp();
    startCommands();
    drawReference();
    addEventListener('hashchange', follow);
    route();
}

start();
