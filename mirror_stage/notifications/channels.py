"""The kinds of channels: how each sends a message, and what the receiver's answer means.

An error is told by its class and the receiver's status: texts of libraries may contain the address, and an address may be a secret.
"""

from __future__ import annotations

import logging
import os
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import gevent
import orjson
from gevent import monkey
from gevent.event import Event
from gevent.lock import BoundedSemaphore

from mirror_stage.alerts.domain import SEVERITIES
from mirror_stage.core.instants import DAY, HOUR, SECOND, Instant, to_text
from mirror_stage.notifications import words
from mirror_stage.notifications.domain import ENDS, OPENED, TEST, Outcome, refused_for_good
from mirror_stage.notifications.words import Manner, Text

WEBHOOK, ALERTMANAGER, PAGERDUTY, EMAIL, APPRISE = KINDS = ("webhook", "alertmanager", "pagerduty", "email", "apprise")
PAGERDUTY_URL = "https://events.pagerduty.com"
CONNECT_SECONDS = 10.0
SENT_WITHIN_SECONDS = 20.0  # the whole of one try
SECURITIES = ("starttls", "tls", "none")
# What Apprise would do on this machine, or with files of it.
LOCAL_SCHEMES = frozenset(
    {
        "syslog",
        "dbus",
        "gio",
        "glib",
        "gnome",
        "kde",
        "qt",
        "macosx",
        "windows",
        "blink1",
        "deltachat",
        "deltachats",
        "signal",
        "file",
        "exec",
    }
)
_QUIET_LIBRARIES = ("urllib3", "requests", "apprise", "requests_oauthlib", "oauthlib")  # their lines have addresses


@dataclass(frozen=True, slots=True)
class Channel:
    """Where messages go. `settings` has what is not secret of its kind: of `email` the server, the sender, the recipients.

    `sealed` has what is secret: the address (`url`), and a `secret`: a password, a token. `fallback` is the channel that gets what this
    one does not take.
    """

    name: str
    kind: str
    settings: Mapping[str, Any]
    sealed: str | None = None
    manner: Manner = field(default_factory=Manner)
    rate_per_minute: int = 10
    fallback: str | None = None
    source: str = "hud"
    version: int = 1


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent: `key` is the same at each try, `thread` for all messages of a group."""

    key: str
    thread: str
    kind: str
    severity: str
    facts: Mapping[str, Any]
    text: Text
    url: str
    at: Instant


Send = Callable[[Channel, Mapping[str, str], Message], Outcome]


def quieten() -> None:
    """Keep the libraries that send from logging addresses, also while EGO logs everything."""
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        logging.getLogger(name).propagate = False


def send(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    """Send one message; `secrets` are those of the channel, in clear. Never raises, but for a gevent.Timeout."""
    quieten()
    try:
        return SENDERS[channel.kind](channel, secrets, message)
    except Exception as error:
        return Outcome(False, None, f"it could not be sent: {type(error).__name__}")


# ------------------------------------------------------------------ over HTTP


def _webhook(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    headers = {"Authorization": f"Bearer {secrets['secret']}"} if secrets.get("secret") else {}
    return _post(secrets["url"], webhook_body(message), headers | {"Idempotency-Key": message.key})


def webhook_body(message: Message) -> dict[str, Any]:
    """What a webhook gets; docs/contract.md describes it."""
    facts = message.facts
    digest = [_about(one) | {"kind": one["kind"], "severity": one["severity"]} for one in facts.get("messages", ())]
    about = _about(facts) if "members" in facts else _about(_NOTHING)
    return {
        "version": 1,
        "key": message.key,
        "kind": message.kind,
        "status": "resolved" if message.kind in ENDS else "firing",
        "severity": message.severity,
        "title": message.text.title,
        "text": message.text.body,
        "url": message.url,
        "sentAt": to_text(message.at),
        **about,
        "messages": digest,
    }


_NOTHING: Mapping[str, Any] = {
    "group": None, "route": None, "cause": None, "rule": None, "rack": None, "startedAt": None, "endedAt": None, "open": 0, "total": 0,
    "members": (),
}  # fmt: skip


def _about(facts: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: None if facts[name] is None else to_text(facts[name]) for name in ("startedAt", "endedAt")}
    same = {name: facts[name] for name in ("group", "route", "cause", "rule", "rack", "open", "total")}
    return same | times | {"alerts": [_alert(one) for one in facts["members"]]}


def _alert(one: Mapping[str, Any]) -> dict[str, Any]:
    times = {name: None if one[name] is None else to_text(one[name]) for name in ("firedAt", "endedAt")}
    return {
        name: one[name] for name in ("id", "hostname", "rule", "subject", "severity", "value", "threshold", "reason")
    } | times


def _alertmanager(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    headers = {"Authorization": f"Bearer {secrets['secret']}"} if secrets.get("secret") else {}
    return _post(secrets["url"].rstrip("/") + "/api/v2/alerts", alertmanager_body(message), headers)


LASTS: Mapping[str, Instant] = {
    "critical": 5 * HOUR,
    "warning": 25 * HOUR,
    "info": 30 * DAY,
}  # longer than until the next message


def alertmanager_body(message: Message) -> list[dict[str, Any]]:
    """The alerts of a message in the form of Alertmanager's API v2. One that is open lasts until EGO says more, or its time is over."""
    parts = message.facts.get("messages") or ([message.facts] if "members" in message.facts else [])
    found = [each for part in parts for one in part["members"] for each in _labelled(part, one, message)]
    if message.kind == TEST:
        labels = {"alertname": "mirror_stage_test", "severity": "info"}
        ends = to_text(message.at + 60 * SECOND)
        found = [
            {
                "labels": labels,
                "annotations": {"summary": message.text.title},
                "startsAt": to_text(message.at),
                "endsAt": ends,
            }
        ]
    return found


def _labelled(facts: Mapping[str, Any], one: Mapping[str, Any], message: Message) -> list[dict[str, Any]]:
    """An alert; and the same with each other severity, ended: for Alertmanager these are alerts of their own."""
    labels = {"alertname": one["rule"], "host": one["hostname"], "severity": one["severity"], "subject": one["subject"],
              "cause": facts["cause"], "rack": facts["rack"], "route": facts["route"]}  # fmt: skip
    ends = (
        one["endedAt"] if one["endedAt"] is not None else message.at + LASTS[facts.get("severity") or message.severity]
    )
    alert: dict[str, Any] = {
        "labels": {name: str(value) for name, value in labels.items() if value},
        "annotations": {"summary": f"{one['hostname']}: {words.problem(one, 'en')}", "group": str(facts["group"])},
        "startsAt": to_text(one["firedAt"]),
        "endsAt": to_text(ends),
        "generatorURL": message.url,
    }
    if message.kind == OPENED:
        return [alert]
    others = [severity for severity in SEVERITIES if severity != one["severity"]]
    return [
        alert,
        *(alert | {"labels": alert["labels"] | {"severity": each}, "endsAt": to_text(message.at)} for each in others),
    ]


def _pagerduty(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    base = secrets.get("url") or PAGERDUTY_URL
    return _post(base.rstrip("/") + "/v2/enqueue", pagerduty_body(secrets["secret"], message), {})


def pagerduty_body(routing_key: str, message: Message) -> dict[str, Any]:
    """An event of PagerDuty's Events API v2. All messages of a group are one incident there."""
    is_end = message.kind in ENDS
    body: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": "resolve" if is_end else "trigger",
        "dedup_key": message.thread,
        "client": "MIRROR STAGE",
        "client_url": message.url,
    }
    if not is_end:
        facts = message.facts
        members = facts.get("members") or ()
        body["payload"] = {
            "summary": message.text.title[:1024],
            "source": facts.get("cause") or (members[0]["hostname"] if members else "mirror-stage"),
            "severity": message.severity,
            "timestamp": to_text(facts.get("startedAt") or message.at),
            "class": facts.get("rule") or "cause",
            "group": facts.get("rack") or "",
            "custom_details": {"text": message.text.body[:8_000], "key": message.key},
        }
    return body


def ask(url: str) -> Outcome:
    """Get an address, for the answer's status alone."""
    quieten()
    return _request("GET", url, None, {})


def _post(url: str, body: Any, headers: Mapping[str, str]) -> Outcome:
    return _request("POST", url, orjson.dumps(body), {"Content-Type": "application/json", **headers})


def _request(method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Outcome:
    """Redirects are not followed, cookies and logins of this machine are not sent, the answer's body is not read."""
    import requests
    from requests import exceptions
    from requests.utils import get_environ_proxies

    from mirror_stage.notifications import bounded

    bounded.bound_all_requests()
    session = requests.Session()
    session.trust_env = False  # else it sends what ~/.netrc has for that host
    try:
        with session.request(
            method,
            url,
            data=body,
            headers={"User-Agent": "mirror-stage", **headers},
            timeout=(CONNECT_SECONDS, SENT_WITHIN_SECONDS),
            allow_redirects=False,
            stream=True,
            proxies=get_environ_proxies(url),
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or True,
        ) as answer:
            return of_status(
                answer.status_code, answer.headers.get("Retry-After"), _instant(answer.headers.get("Date"))
            )
    except (exceptions.MissingSchema, exceptions.InvalidSchema, exceptions.InvalidURL) as error:
        return Outcome(False, None, f"its address is no URL of http or https ({type(error).__name__})", is_final=True)
    except exceptions.RequestException as error:
        return Outcome(False, None, _why(error))
    finally:
        session.close()


def _why(error: Exception) -> str:
    from requests import exceptions

    from mirror_stage.notifications.bounded import is_too_long

    if is_too_long(error):
        return "its answer was too long"
    for kind, text in (
        (exceptions.ConnectTimeout, "no connection in time"),
        (exceptions.ReadTimeout, "no answer in time"),
        (exceptions.SSLError, "the receiver cannot be trusted (TLS)"),
        (exceptions.ProxyError, "the proxy does not answer"),
        (exceptions.ConnectionError, "the connection failed or broke"),
    ):
        if isinstance(error, kind):
            return f"{text} ({type(error).__name__})"
    return type(error).__name__


def of_status(status: int, retry_after: str | None = None, now: Instant | None = None) -> Outcome:
    """What a receiver's HTTP status means; `now` is the instant by its own clock, for a Retry-After with a date."""
    if 200 <= status < 300:
        return Outcome(True, status)
    if 300 <= status < 400:
        text = f"{status}: it leads to another address, and EGO follows none; enter that address"
        return Outcome(False, status, text, is_final=True)
    return Outcome(
        False, status, f"the receiver answered {status}", refused_for_good(status), _wait_of(retry_after, now)
    )


def _wait_of(text: str | None, now: Instant | None) -> Instant | None:
    """What a Retry-After asks for, in ms; None if it cannot be read."""
    text = (text or "").strip()
    if text.isdigit():
        return int(text[:9]) * SECOND
    until = _instant(text)
    return None if until is None or now is None else max(0, until - now)


def _instant(text: str | None) -> Instant | None:
    """The instant of a date in a header; None if it cannot be read."""
    try:
        return int(parsedate_to_datetime(text or "").timestamp() * 1000)
    except (ValueError, TypeError, OverflowError):
        return None


# ------------------------------------------------------------------ e-mail


def mail_of(channel: Channel, message: Message) -> EmailMessage:
    """A message as an e-mail. Its Message-ID is its key; all mails of a group refer to one, so that they stand in one thread."""
    mail, settings = EmailMessage(), channel.settings
    domain = settings["sender"].rpartition("@")[2].strip("> ") or "mirror-stage"
    mail["From"], mail["To"] = settings["sender"], ", ".join(settings["recipients"])
    mail["Subject"] = " ".join(message.text.title.split())
    mail["Date"] = _date(message.at)
    mail["Message-ID"] = f"<{message.key}@{domain}>"
    mail["In-Reply-To"] = mail["References"] = f"<{message.thread}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(message.text.body + "\n")
    return mail


def _date(at: Instant) -> str:
    from datetime import UTC, datetime

    return format_datetime(datetime.fromtimestamp(at / 1000, UTC))


def _email(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    from mirror_stage.notifications import bounded

    settings = channel.settings
    security, trusted = settings.get("security", "starttls"), ssl.create_default_context()
    here = socket.gethostname()
    try:
        if security == "tls":
            server: smtplib.SMTP = bounded.SmtpOverTls(
                settings["server"], settings.get("port") or 465, here, timeout=SENT_WITHIN_SECONDS, context=trusted
            )
        else:
            server = bounded.Smtp(settings["server"], settings.get("port") or 587, here, timeout=SENT_WITHIN_SECONDS)
        with server:
            if security == "starttls":
                server.starttls(context=trusted)
            if settings.get("username"):
                server.login(settings["username"], secrets.get("secret", ""))
            refused = server.send_message(mail_of(channel, message), settings["sender"], settings["recipients"])
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        return _of_reply(max(codes, default=550), "no recipient was taken", is_final=all(code >= 500 for code in codes))
    except smtplib.SMTPResponseException as error:
        return _of_reply(error.smtp_code, "the server refused", is_final=error.smtp_code >= 500)
    except smtplib.SMTPNotSupportedError:
        return Outcome(
            False, None, "the server does not offer STARTTLS or a login; change `security` or `username`", is_final=True
        )
    except smtplib.SMTPException as error:
        return Outcome(False, None, f"the connection broke ({type(error).__name__})")
    except OSError as error:
        return Outcome(False, None, f"the connection failed ({type(error).__name__})")
    count = len(refused)
    return Outcome(True, 250, f"{count} of {len(settings['recipients'])} recipients were refused" if count else None)


def _of_reply(code: int, text: str, *, is_final: bool) -> Outcome:
    return Outcome(False, code, f"{text} ({code})", is_final)


# ------------------------------------------------------------------ everything else


_one_loads = BoundedSemaphore(1)
_is_loaded = Event()


def load_apprise() -> None:
    """Load Apprise and its services, once: half a second of work, in a native thread, so that the event loop goes on meanwhile."""
    with _one_loads:
        if _is_loaded.is_set():
            return
        if monkey.is_module_patched("threading"):
            gevent.get_hub().threadpool.apply(_load_apprise)
        else:
            _load_apprise()
        _is_loaded.set()


def _load_apprise() -> None:
    from apprise import Apprise

    Apprise.instantiate("json://127.0.0.1")  # the first one loads all services


def apprise_trouble(url: str) -> str | None:
    """Why EGO does not send to this address by Apprise; None if it does. Loads Apprise."""
    quieten()
    load_apprise()
    from apprise import Apprise
    from apprise.asset import AppriseAsset

    scheme = urlsplit(url).scheme.lower()
    if scheme in LOCAL_SCHEMES:
        return f"begins with {scheme}://, which does something on this machine; that is not allowed"
    _keep_from_files()
    service = Apprise.instantiate(url, asset=AppriseAsset(secure_logging=True, http_redirects=False))
    if service is None:
        return "is no address that Apprise knows; see https://github.com/caronc/apprise/wiki"
    if not _is_over_http(service):
        return f"begins with {scheme}://, which is not over HTTP; EGO cannot bound what such a service answers"
    if _names_a_file(service):
        return "names a file of this machine or another address to read (template=, keyfile=, ...); that is not allowed"
    return None


def _is_over_http(service: Any) -> bool:
    """Whether a service of Apprise sends with requests, whose answers `bounded` bounds."""
    modules = {one.__module__ for one in type(service).__mro__} - {"apprise.plugins.base"}
    return any("requests" in vars(sys.modules[one]) for one in modules if one.startswith("apprise.plugins."))


def _names_a_file(service: Any) -> bool:
    """Whether a service reads a template or a key from a file, or from another address."""
    from apprise import AppriseAttachment

    files = [one for one in vars(service).values() if isinstance(one, AppriseAttachment)]
    return any(map(len, files)) or bool(getattr(service, "keyfile", None) or getattr(service, "subfile", None))


def _keep_from_files() -> None:
    """Keep Apprise from reading files and other addresses at all, whatever an address asks for."""
    from apprise.attachment.file import AttachFile
    from apprise.attachment.http import AttachHTTP
    from apprise.common import ContentLocation

    AttachFile.location = AttachHTTP.location = ContentLocation.INACCESSIBLE


def _apprise(channel: Channel, secrets: Mapping[str, str], message: Message) -> Outcome:
    from apprise import Apprise, NotifyType
    from apprise.asset import AppriseAsset

    from mirror_stage.notifications import bounded

    bounded.bound_all_requests()
    trouble = apprise_trouble(secrets["url"])
    asset = AppriseAsset(secure_logging=True, http_redirects=False, async_mode=False, plugin_paths=[])
    service = None if trouble else Apprise.instantiate(secrets["url"], asset=asset)
    if service is None:
        return Outcome(False, None, f"its address {trouble}", is_final=True)
    service.redirects = (
        False  # also if the address asks for them: a redirect would turn a POST into a GET, and count as success
    )
    kinds = {"critical": NotifyType.FAILURE, "warning": NotifyType.WARNING, "info": NotifyType.INFO}
    kind = (
        NotifyType.SUCCESS
        if message.kind in ENDS
        else NotifyType.INFO
        if message.kind == TEST
        else kinds[message.severity]
    )
    sender = Apprise(asset=asset)
    sender.add(service)
    if sender.notify(body=message.text.body, title=message.text.title, notify_type=kind):
        return Outcome(True)
    return Outcome(False, None, "the service did not take it; Apprise does not say why")


SENDERS: Mapping[str, Send] = {
    WEBHOOK: _webhook,
    ALERTMANAGER: _alertmanager,
    PAGERDUTY: _pagerduty,
    EMAIL: _email,
    APPRISE: _apprise,
}
CAN_DIGEST = frozenset(SENDERS) - {PAGERDUTY}  # there each group is an incident of its own


def shown_host(channel: Channel, url: str | None) -> str | None:
    """Where a channel goes, without what may be secret: a reference, a scheme with its host, of Apprise the scheme alone."""
    if channel.kind == EMAIL:
        return str(channel.settings.get("server"))
    if url is None:
        return PAGERDUTY_URL if channel.kind == PAGERDUTY else None
    if url.startswith(("env:", "file:")):
        return url
    if channel.kind == APPRISE:
        return f"{urlsplit(url).scheme}://"
    return host_of(url)


def host_of(url: str) -> str:
    """The scheme, the host and the port of an address: the rest may be secret."""
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.hostname}{port}"
