"""Asks a Prometheus for its targets, its rules and every query of a dashboard. See observability.sh."""
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PROMETHEUS, DASHBOARD = sys.argv[1:]
PATIENCE = 150


def ask(path, **parameters):
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{PROMETHEUS}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def eventually(what, holds):
    until = time.monotonic() + PATIENCE
    while True:
        found = holds()
        if not found:
            return
        if time.monotonic() > until:
            sys.exit(f"observability: not within {PATIENCE} s: {what}: {found}")
        time.sleep(2)


def targets_down():
    targets = ask("targets")["data"]["activeTargets"]
    return [target["scrapeUrl"] + " " + target["lastError"] for target in targets if target["health"] != "up"] or (not targets and "none")


def rules():
    return [rule for group in ask("rules")["data"]["groups"] for rule in group["rules"]]


def rules_unwell():
    return [(rule["name"], rule["lastError"] if "lastError" in rule else rule["health"]) for rule in rules() if rule["health"] != "ok"] or (
        not rules() and "none"
    )


with open(DASHBOARD) as file:
    dashboard = json.load(file)
assert dashboard["uid"] and dashboard["title"] and dashboard["panels"], "no dashboard"
panels = dashboard["panels"]
assert len({panel["id"] for panel in panels}) == len(panels), "two panels have the same id"
queries = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]
for panel in panels:
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24, f"{panel['title']} is wider than the page"
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs), f"{panel['title']} has a query twice"


def without_series():
    missing = []
    for title, expression in queries:
        answer = ask("query", query=expression)
        if answer["status"] != "success":
            sys.exit(f"observability: {title}: {expression}: {answer['error']}")
        if not answer["data"]["result"]:
            missing.append(f"{title}: {expression}")
    return missing


eventually("all targets are up", targets_down)
print(f"observability: {len(ask('targets')['data']['activeTargets'])} targets are up")
eventually("all panels have series", without_series)
print(f"observability: {len(queries)} queries of {len(panels)} panels have series")
eventually("all rules are evaluated", rules_unwell)
firing = [rule["name"] for rule in rules() if rule["state"] == "firing"]
print(f"observability: {len(rules())} alert rules are evaluated, firing: {firing or 'none'}")
sys.exit(bool(firing))
