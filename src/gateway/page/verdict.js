// ---- What an answer means, in the words of whoever talks to customers.

/** The findings in plain words. A code that is not known here is told in the gateway's own words. */
const FINDINGS = {
    'CASM-MANDATORY-ATTRIBUTE': ({ what }) => `Please fill in: ${what}.`,
    'CASM-SEGMENT-NOT-CONFIGURED': () => 'There is no such segment. Check the spelling; capitals count.',
    'CASM-REQUEST-ID-REUSED': () => 'This request ID was used before, for something else. Take a new one.',
    'CASM-ENTITY-NOT-FOUND': ({ type }) =>
        `There is no such ${type}. An external ID that was given up does not lead to its ${type} any more.`,
    'CASM-STATE-DEACTIVATED': ({ type }) => `The ${type} is deactivated, and can’t be changed any more.`,
    'CASM-VERSION-CONFLICT': ({ type }) => `The ${type} does not have the version that you expected.`,
    'CASM-EXTERNAL-ID-NOT-UNIQUE': ({ type }) => `Another ${type} has this external ID already.`,
};

/** Says a finding in plain words. The gateway begins its own words with the name of the field. */
function inPlainWords({ code, field, message }, type) {
    const what = field ? wordsOfPath(field) : 'The request';
    const say = FINDINGS[code];
    if (say) return say({ what, type });
    return field && message.startsWith(`${field} `) ? what + message.slice(field.length) : message;
}

/** Shows the findings, each with the gateway's own words below. */
function findings(errors, type) {
    return el(
        'ul',
        { class: 'findings' },
        errors.map((error) => {
            const own = el('p', { class: 'muted small' }, mono(error.code), ' ', text(error.message));
            return el('li', {}, paragraph(text(inPlainWords(error, type))), own);
        }),
    );
}

const isConflict = (answer) => answer.status === 412 || answer.body?.errors?.[0]?.code === 'CASM-VERSION-CONFLICT';

/** Returns whether an answer settles what became of the command. After any other, the same request is to be sent again. */
function isFinal({ status }) {
    return [200, 400, 412, 500].includes(status);
}

/** Shows what an answer to a command means. `again` sends the same request, `look` shows the entity, and `outcome` looks for the answer. */
function verdict(answer, { type, again, look, outcome }) {
    const { body, status } = answer;
    // Whoever asks what a request was answered knows that it was answered before.
    const note =
        body?.replayed &&
        !answer.isFound &&
        el(
            'p',
            { class: 'note' },
            el('strong', {}, 'Answered before. '),
            'This request had been sent already. Nothing happened a second time; this is its answer from then.',
        );
    const done = body?.businessTransaction;
    const buttons = (...all) => el('p', { class: 'buttons' }, all.filter(Boolean));
    const sendAgain = again && button('Ask again', again, 'primary');
    const lookAtIt = look && button(`Look at the ${type}`, look);
    if (status === 200 && done) {
        const isNew = done.changes.length > 0;
        const title = isNew ? 'Done' : 'Nothing to change';
        const say = isNew ? `The ${type} was changed, and has version ${done.version} now.` : `The ${type} had these values already.`;
        const told = body.replayed && isNew ? `The ${type} was changed, to version ${done.version}.` : say;
        return [banner(isNew ? 'good' : 'calm', title, paragraph(told), note), transaction(done), buttons(lookAtIt), wire(answer)];
    }
    if (status === 202) {
        return [
            banner('wait', 'On its way', paragraph('The command was accepted, and its answer is not waited for. Look for it in a moment.')),
            buttons(outcome && button('Look for the answer', outcome, 'primary')),
            wire(answer),
        ];
    }
    if (status === 504) {
        return [
            banner(
                'wait',
                'No answer yet',
                paragraph(
                    'The command is on its way, and may still take effect. ',
                    'Ask again: this is safe, because the request keeps its ID, and takes effect once at most.',
                ),
            ),
            buttons(sendAgain, outcome && button('Look for the answer', outcome)),
            wire(answer),
        ];
    }
    if (isConflict(answer)) {
        return [
            banner(
                'warn',
                'Somebody else was faster',
                paragraph(
                    `The ${type} was changed since you looked at it. Nothing of your command was done. `,
                    'Look at it again, and decide whether your change is still right.',
                ),
                note,
            ),
            findings(body.errors, type),
            buttons(lookAtIt),
            wire(answer),
        ];
    }
    if (status === 400) {
        return [
            banner('bad', 'Refused', paragraph('Nothing was changed. Correct this, and send it again:'), note),
            findings(body.errors ?? [], type),
            wire(answer),
        ];
    }
    if (status === 500) {
        return [
            banner(
                'bad',
                'An error inside the system',
                paragraph('Nothing was changed. This is not your mistake: please report it, with the request ID.'),
                note,
            ),
            findings(body?.errors ?? [], type),
            wire(answer),
        ];
    }
    return [trouble(answer, again && 'Ask again: this is safe, because the request keeps its ID.'), buttons(sendAgain), wire(answer)];
}

/** Shows why there is no answer about the matter itself. `then` says what to do. */
function trouble({ status, headers, body }, then = '') {
    const detail = body?.detail ?? '';
    if (status === NO_ANSWER) {
        return banner(
            'warn',
            'No connection',
            paragraph('The gateway did not answer. ', then && 'Perhaps it got the command, perhaps not. ', then),
        );
    }
    if (status === 401) {
        const signIn = headers.has('www-authenticate') && button('Sign in', askForToken, 'primary');
        return banner(
            'warn',
            'Please sign in',
            paragraph(
                token ? 'Your token is not taken: it has expired, or is not for this system.' : 'This needs a token, or a certificate.',
            ),
            signIn,
        );
    }
    if (status === 403) {
        return banner(
            'warn',
            'You may not do this',
            paragraph('Your token does not allow it. Ask whoever gave it to you. ', text(detail)),
            button('Use another token', askForToken),
        );
    }
    if (status === 503) {
        return banner(
            'warn',
            'Not possible right now',
            paragraph('The system can’t be reached at present, or is too busy. Nothing was done. ', then || 'Try again in a moment.'),
        );
    }
    return banner(
        'bad',
        'This did not work',
        paragraph(text(detail || `The gateway answered with status ${status}.`)),
        body?.errors?.length > 0 && findings(body.errors, 'entity'),
    );
}
