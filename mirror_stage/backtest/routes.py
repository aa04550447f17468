"""REST: what an alert rule would have said of the past."""

from __future__ import annotations

from typing import Any

from flask import Response

from mirror_stage.alerts.routes import rule_document
from mirror_stage.alerts.rulebook import RuleBook
from mirror_stage.alerts.schemas import NamedRuleBody
from mirror_stage.backtest.schemas import BackTestQuery, BackTestSchema
from mirror_stage.backtest.service import BackTest
from mirror_stage.web.http import Blueprint, json_response
from mirror_stage.web.services import service

blp = Blueprint("backtest", __name__, url_prefix="/api/alert-rules", description="What an alert rule would have said")


@blp.post("/backtest")
@blp.arguments(BackTestQuery, location="query")
@blp.documented_body(NamedRuleBody)
@blp.response(200, BackTestSchema)
def backtest(query: dict[str, Any]) -> Response:
    """What an alert rule would have said in the last days, with several `for` side by side. Nothing is stored."""
    rule = service(RuleBook).parse(rule_document())
    return json_response(service(BackTest).run(rule, query["days"]))
