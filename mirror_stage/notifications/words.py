"""The texts of messages, in English and Korean, and templates that a channel may have instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

from mirror_stage.alerts.domain import ROOT_BACK
from mirror_stage.alerts.measures import RULE_MEASURES
from mirror_stage.core.instants import Instant, to_text
from mirror_stage.notifications import domain
from mirror_stage.notifications.domain import ENDS

LANGUAGES = ("en", "ko")
LINES_MAX = 20  # problems, or messages of a digest, that a text names
TEMPLATE_MAX = 4_000
TITLE_MAX = 250

KO_MEASURES: Mapping[str, str] = {
    "cpuLoad": "CPU 사용률 {value}%",
    "memoryUsedPercent": "메모리 사용률 {value}%",
    "swapUsedPercent": "스왑 사용률 {value}%",
    "diskUsedPercent": "디스크 {subject} 사용률 {value}%",
    "cpuTemperature": "CPU 온도 {value} °C",
    "gpuTemperature": "GPU 온도 {value} °C",
    "utilization": "링크 사용률 {value} (1 = 전체 용량)",
    "clockOffsetSeconds": "EGO 시계와 {value}초 차이",
    "machinesOfName": "같은 이름으로 보고하는 장비 {value}대: {subject}",
    "hostsCutOff": "EGO가 {subject}에서 고립됨: 호스트 {value}대 응답 끊김",
    "silenceSeconds": "{value}초 동안 무응답",
    "loadAverage": "부하 평균 {value}",
    "fullestDiskPercent": "가장 많이 찬 디스크 사용률 {value}%",
    "diskFreeBytes": "디스크 {subject} 여유 {value}바이트",
    "diskDaysToFull": "디스크 {subject} 가득 찰 때까지 {value}일",
    "interfaceIsDown": "인터페이스 {subject} 다운",
    "interfaceErrorsPerSecond": "인터페이스 {subject} 오류 초당 {value}건",
    "sensorCelsius": "센서 {subject} 온도 {value} °C",
    "coreLoad": "코어 {subject} 사용률 {value}%",
    "isMissing": "샘플에 {subject} 값이 없음",
    domain.DATABASE_AWAY: "EGO가 데이터베이스에 연결할 수 없음",
}

# A measure that has no words of its own here is told by the name of its rule.
MEASURES: Mapping[str, Mapping[str, str]] = {
    "en": {name: one.words for name, one in RULE_MEASURES.items()}
    | {domain.DATABASE_AWAY: "EGO cannot reach its database"},
    "ko": KO_MEASURES,
}

TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "info": "INFO",
        "warning": "WARNING",
        "critical": "CRITICAL",
        "opened": "{severity}",
        "grew": "{severity}, more",
        "worse": "{severity}, worse",
        "repeat": "{severity}, still",
        "over": "OVER",
        "flapping": "{severity}, comes and goes",
        "escalated": "{severity}, nobody has solved it",
        "was": "WAS {severity}, and is over",
        "digest": "{severity}",
        "test": "TEST",
        "group": "{rule}: {open} of {total} problems are open",
        "group_over": "{rule}: {total} problems are over",
        "cause": "{cause}: {open} problems because of it",
        "cause_over": "{cause}: {total} problems because of it are over",
        "in_rack": "{what}, rack {rack}",
        "any": "{rule} is at {value}",
        "any_subject": "{rule} of {subject} is at {value}",
        "line": "{severity} {host}: {what}, since {since}",
        "line_over": "over  {host}: {what}, {since} to {until}",
        "line_moved": "told apart from now on  {host}: {what}, {since} to {until}",
        "line_lost": "not measured any more  {host}: {what}, {since} to {until}",
        "more": "and {count} more",
        "cause_line": "Cause: {cause}",
        "digest_title": "{count} messages in one",
        "digest_body": "There were more messages in a minute than this channel takes:",
        "test_title": "a trial from MIRROR STAGE",
        "test_body": "This channel works. Nothing is wrong.",
        "away": "{severity}",
        "back": "OVER",
        "away_line": "Until it is back, nobody is told of any alert. EGO tells this from memory, and only once.",
        "back_line": "What happened meanwhile is told now.",
        "also_open": "Alerts that are open, as far as EGO knows: {count}",
    },
    "ko": {
        "info": "정보",
        "warning": "주의",
        "critical": "위험",
        "opened": "{severity}",
        "grew": "{severity}, 늘어남",
        "worse": "{severity}, 악화",
        "repeat": "{severity}, 계속됨",
        "over": "해소",
        "flapping": "{severity}, 발생과 해소를 반복",
        "escalated": "{severity}, 아직 해결되지 않음",
        "was": "{severity}였으나 해소됨",
        "digest": "{severity}",
        "test": "시험",
        "group": "{rule}: 경보 {total}건 중 {open}건 진행 중",
        "group_over": "{rule}: 경보 {total}건 모두 해소",
        "cause": "{cause}: 이로 인한 경보 {open}건",
        "cause_over": "{cause}: 이로 인한 경보 {total}건 모두 해소",
        "in_rack": "{what}, 랙 {rack}",
        "any": "{rule} 값 {value}",
        "any_subject": "{subject}의 {rule} 값 {value}",
        "line": "{severity} {host}: {what}, {since}부터",
        "line_over": "해소  {host}: {what}, {since} ~ {until}",
        "line_moved": "이후 따로 알림  {host}: {what}, {since} ~ {until}",
        "line_lost": "더 이상 측정되지 않음  {host}: {what}, {since} ~ {until}",
        "more": "외 {count}건",
        "cause_line": "원인: {cause}",
        "digest_title": "메시지 {count}건 묶음",
        "digest_body": "1분 동안 이 채널이 받는 수보다 메시지가 많았습니다:",
        "test_title": "MIRROR STAGE 시험 발송",
        "test_body": "이 채널은 정상입니다. 문제는 없습니다.",
        "away": "{severity}",
        "back": "해소",
        "away_line": "복구될 때까지 어떤 경보도 발송되지 않습니다. 이 메시지는 EGO의 메모리에서 한 번만 보냅니다.",
        "back_line": "그동안 발생한 일은 지금 발송됩니다.",
        "also_open": "EGO가 아는 진행 중인 경보: {count}건",
    },
}

# The names that a template may have.
NAMES = frozenset(
    {
        "kind", "status", "severity", "title", "what", "host", "rule", "subject", "cause", "rack", "route", "open", "total", "lines",
        "since", "until", "url",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Text:
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Manner:
    """How a channel words its messages: the language, and its own templates."""

    language: str = "en"
    title: str | None = None
    body: str | None = None


def template_trouble(text: str) -> str | None:
    """What is wrong with a template; None if nothing is."""
    if len(text) > TEMPLATE_MAX:
        return f"has {len(text)} characters; {TEMPLATE_MAX} are allowed"
    template = Template(text)
    if not template.is_valid():
        return "has a $ without a name after it; write $$ for a $"
    unknown = sorted(set(template.get_identifiers()) - NAMES)
    if unknown:
        return f"has ${unknown[0]}, which does not exist; the names are {', '.join(sorted(NAMES))}"
    return None


def text_of(kind: str, severity: str, facts: Mapping[str, Any], manner: Manner, url: str) -> Text:
    """The title and the body of a message about these facts (`domain.facts_of`)."""
    words = TEXTS[manner.language]
    label = words[kind].format(severity=words[severity])
    what = _what(kind, facts, manner.language)
    title, lines = f"[{label}] {what}", _lines(kind, facts, manner.language)
    members = facts.get("members") or [{}]
    values = {
        "kind": kind,
        "status": "resolved" if kind in ENDS else "firing",
        "severity": words[severity],
        "title": title,
        "what": what,
        "host": members[0].get("hostname", "") if len(members) == 1 else facts.get("cause") or "",
        "rule": facts.get("rule") or members[0].get("rule", ""),
        "subject": members[0].get("subject") or "" if len(members) == 1 else "",
        "cause": facts.get("cause") or "",
        "rack": facts.get("rack") or "",
        "route": facts.get("route") or "",
        "open": facts.get("open", 0),
        "total": facts.get("total", 0),
        "lines": "\n".join(lines),
        "since": moment(facts.get("startedAt")),
        "until": moment(facts.get("endedAt")),
        "url": url,
    }
    body = "\n".join([*lines, "", url])
    own_title = Template(manner.title).safe_substitute(values) if manner.title else title
    own_body = Template(manner.body).safe_substitute(values) if manner.body else body
    return Text(" ".join(own_title.split())[:TITLE_MAX] or title[:TITLE_MAX], own_body)


def _what(kind: str, facts: Mapping[str, Any], language: str) -> str:
    words, members = TEXTS[language], facts.get("members", ())
    if kind == domain.TEST:
        return words["test_title"]
    if kind == domain.DIGEST:
        return words["digest_title"].format(count=len(facts["messages"]))
    end = "_over" if kind in ENDS else ""
    if facts["cause"] is not None:
        return words["cause" + end].format(cause=facts["cause"], open=facts["open"], total=facts["total"])
    if facts["total"] == 1:
        return f"{members[0]['hostname']}: {problem(members[0], language)}"
    what = words["group" + end].format(rule=facts["rule"], open=facts["open"], total=facts["total"])
    return words["in_rack"].format(what=what, rack=facts["rack"]) if facts["rack"] else what


def _lines(kind: str, facts: Mapping[str, Any], language: str) -> list[str]:
    words = TEXTS[language]
    if kind == domain.TEST:
        return [words["test_body"]]
    if kind == domain.DIGEST:
        messages = facts["messages"]
        titles = [
            text_of(one["kind"], one["severity"], one, Manner(language), "").title for one in messages[:LINES_MAX]
        ]
        return [words["digest_body"], *titles, *_more(len(messages), language)]
    if kind in {domain.AWAY, domain.BACK}:
        others = facts["others"][:LINES_MAX]
        also = [words["also_open"].format(count=facts["alsoOpen"])] if others else []
        own = [_line(facts["members"][0], language), words[f"{kind}_line"]]
        return [*own, *also, *(_line(one, language) for one in others), *_more(facts["alsoOpen"], language)]
    cause = [words["cause_line"].format(cause=facts["cause"])] if facts["cause"] is not None else []
    members = facts["members"][:LINES_MAX]
    return [*cause, *(_line(one, language) for one in members), *_more(facts["total"], language)]


def _more(count: int, language: str) -> list[str]:
    return [TEXTS[language]["more"].format(count=count - LINES_MAX)] if count > LINES_MAX else []


_FORMS: Mapping[str | None, str] = {"no-data": "line_lost", "host-offline": "line_lost", ROOT_BACK: "line_moved"}


def _line(member: Mapping[str, Any], language: str) -> str:
    words, ended = TEXTS[language], member["endedAt"]
    form = "line" if ended is None else _FORMS.get(member["reason"], "line_over")
    return words[form].format(
        severity=words[member["severity"]],
        host=member["hostname"],
        what=problem(member, language),
        since=moment(member["firedAt"]),
        until=moment(ended),
    )


def problem(member: Mapping[str, Any], language: str) -> str:
    """What is wrong, in a few words without the host: `disk /srv is 97% used`."""
    number = member["value"]
    value = f"{number:,.0f}" if abs(number) >= 1_000 else f"{number:.4g}"
    text = MEASURES[language].get(member["measure"])
    if text is None:
        text = TEXTS[language]["any_subject" if member["subject"] else "any"]
    return text.format(value=value, subject=member["subject"], rule=member["rule"])


def moment(instant: Instant | None) -> str:
    """`2026-11-28 02:10 UTC`; empty for None."""
    return "" if instant is None else f"{to_text(instant)[:10]} {to_text(instant)[11:16]} UTC"
