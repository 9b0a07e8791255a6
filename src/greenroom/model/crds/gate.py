"""The gate of a ReviewApp. ``model.gate`` parses what gets through."""

from __future__ import annotations

from greenroom.model.crds.schema import Rule, Schema, array, boolean, fields, ruled, string
from greenroom.model.gate import EXPRESSION_LIMIT, PATTERN_LIMIT, PATTERNS_LIMIT, VARIABLES, VISIBLE, Forks


def gate() -> Schema:
    labels = fields(
        "Labels that have to be on, or must not be. Letter case makes no difference.",
        {
            "any": _patterns("One of these has to be on. Example: [pr-env]"),
            "all": _patterns("All of these have to be on."),
            "none": _patterns("None of these may be on. Example: [no-preview]"),
        },
        minProperties=1,
    )
    properties = {
        "labels": labels,
        "drafts": boolean("Whether drafts get an environment. Default: true."),
        "bots": boolean("Whether pull requests of bots get one. Default: true."),
        "forks": string(
            "Whether pull requests from forks get one, whose commits anybody can write. never, the default; approved:"
            " a commit that somebody who may push approved, by a review, by approvalLabel or by the comment /preview,"
            " and no other commit; always.",
            enum=[each.value for each in Forks],
        ),
        "approvalLabel": string(
            "A label that approves the commit that was the head when it was put on. With credentials for the forge it"
            " counts only from somebody who may push. Default: none. Example: safe-to-preview",
            pattern=VISIBLE,
            maxLength=PATTERN_LIMIT,
        ),
        "authors": _choice("Whose pull requests get one, by login. * is anything. Example: {none: ['*-bot']}"),
        "baseBranches": _choice(
            "By the branch that it is to be merged into. * stops at a slash, ** does not. Example:"
            " {any: [main, 'release/*']}"
        ),
        "title": _choice("By the title, whatever its letter case; * is anything. Example: {none: ['WIP*']}"),
        "paths": _choice(
            "By the files that it changes: one of them has to match any, if that is given, and not none. * stops at a"
            " slash, ** does not. Needs credentials for the forge. Example: {any: ['app/**'], none: ['**/*.md']}"
        ),
        "expression": string(
            "CEL, for what the other fields cannot say. Its variables are "
            + ", ".join(VARIABLES)
            + ". Example: labels.exists(l, l.startsWith('team-')) && !title.contains('[skip preview]')",
            pattern=VISIBLE,
            maxLength=EXPRESSION_LIMIT,
        ),
    }
    described = fields(
        "Which pull requests get an environment: all that is given must hold. One that is let through no more loses"
        " its environment, and one that is let through now gets it. The reason is in status.refused, in the condition"
        " Admitted of each PR, and is told by `greenroom explain`. Default: every open pull request, but those from"
        " forks of people who are none of the team.",
        properties,
        minProperties=1,
    )
    return ruled(
        described,
        Rule(
            "!has(self.approvalLabel) || (has(self.forks) && self.forks == 'approved')",
            "approvalLabel has a meaning with forks: approved only",
            ".approvalLabel",
        ),
    )


def _choice(description: str) -> Schema:
    return fields(
        description,
        {"any": _patterns("One of these has to match."), "none": _patterns("None of these may match.")},
        minProperties=1,
    )


def _patterns(description: str) -> Schema:
    one = string("One of them.", pattern=VISIBLE, maxLength=PATTERN_LIMIT)
    return array(description, one, minItems=1, maxItems=PATTERNS_LIMIT)
