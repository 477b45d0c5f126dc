"""Packages for services on the web, against recorded answers (recordings.py) and such as their documentation
shows."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote, quote_plus

import httpx
import pytest
from tests.recordings import FOLDER, Recorder, Replay

from aios.errors import ToolError, ToolUnavailable
from aios.syscalls import FunctionCall, ToolCall
from aios.tools.manager import ToolManager
from aios.tools.providers.package import digest_of, installed
from aios.tools.services import wikipedia
from aios.tools.services.arxiv import Arxiv
from aios.tools.services.brave import Brave, Hit
from aios.tools.services.weather import OpenMeteo
from aios.tools.services.wikipedia import Wikipedia
from aios.tools.services.wolfram import Wolfram
from aios.tools.tool import Caller

pytestmark = pytest.mark.anyio
ANN = Caller(agent="ann", folder="/nowhere")


class Web:
    """Answers from a list and remembers what was asked."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def __call__(self, request):
        self.asked.append(request)
        answer = self.answers.pop(0)
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


async def use(service, web, name, /, **arguments):
    transport = web if isinstance(web, httpx.AsyncBaseTransport) else httpx.MockTransport(web)
    async with httpx.AsyncClient(transport=transport) as client, ToolManager() as tools:
        for bound in service(client).tools():
            tools.add(bound)
        call = ToolCall(id="1", function=FunctionCall(name=name, arguments=json.dumps(arguments)))
        return (await tools.call(call, ANN)).value


async def test_wikipedia():
    found = {"query": {"search": [{"title": "Ada Lovelace", "snippet": "a <span>mathe&amp;matician</span>"}]}}
    web = Web(found)
    (hit,) = await use(Wikipedia, web, "search", query="first programmer", limit=99, language="de")
    assert (hit.title, hit.about) == ("Ada Lovelace", "a mathe&matician")
    assert web.asked[0].url.host == "de.wikipedia.org"
    assert web.asked[0].url.params["srlimit"] == "20"
    page = {"title": "Ada Lovelace", "fullurl": "https://en.wikipedia.org/wiki/Ada_Lovelace", "extract": "Ada"}
    article = await use(Wikipedia, Web({"query": {"pages": [page]}}), "page", title="ada lovelace")
    assert (article.url, article.text) == (page["fullurl"], "Ada")
    with pytest.raises(ToolError, match="no article 'X'"):
        await use(Wikipedia, Web({"query": {"pages": [{"title": "X", "missing": True}]}}), "page", title="X")
    with pytest.raises(ToolError, match="no language"):
        await use(Wikipedia, Web(), "search", query="x", language="evil.example/#")


ATOM = """<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns="http://www.w3.org/2005/Atom"><title>ArXiv Query</title>
<entry><id>http://arxiv.org/abs/2403.16971v5</id><published>2024-03-25T17:32:23Z</published>
<title>AIOS: LLM Agent
  Operating System</title><summary>  LLM-based agents. </summary>
<author><name>Kai Mei</name></author><author><name>Yongfeng Zhang</name></author>
<link href="http://arxiv.org/abs/2403.16971v5" rel="alternate" type="text/html"/>
<link title="pdf" href="http://arxiv.org/pdf/2403.16971v5" rel="related" type="application/pdf"/>
</entry></feed>"""


async def test_arxiv():
    web = Web(httpx.Response(200, text=ATOM))
    (paper,) = await use(Arxiv, web, "search", query="agent system")
    assert (paper.id, paper.title) == ("2403.16971v5", "AIOS: LLM Agent Operating System")
    assert (paper.authors, paper.pdf) == (("Kai Mei", "Yongfeng Zhang"), "http://arxiv.org/pdf/2403.16971v5")
    assert web.asked[0].url.params["search_query"] == "all:agent AND all:system"
    wrong = ATOM.replace("AIOS: LLM Agent\n  Operating System", "Error")
    with pytest.raises(ToolError, match="Correct the query"):
        await use(Arxiv, Web(httpx.Response(400, text=wrong)), "search", query="au:(")
    with pytest.raises(ToolUnavailable, match="no Atom"):
        await use(Arxiv, Web(httpx.Response(200, text="busy")), "search", query="x")


async def test_weather():
    place = {"results": [{"name": "Paris", "country": "France", "latitude": 48.85, "longitude": 2.35}]}
    now = {"temperature_2m": 8.5, "relative_humidity_2m": 81, "wind_speed_10m": 12.2, "weather_code": 3}
    daily = {
        "time": ["2026-11-21"], "temperature_2m_min": [4.1], "temperature_2m_max": [9.9],
        "precipitation_sum": [1.2], "weather_code": [61],
    }  # fmt: skip
    web = Web(place, {"current": now, "daily": daily})
    told = await use(OpenMeteo, web, "forecast", place="Paris", days=1)
    assert (told.place, told.temperature, told.sky) == ("Paris, France", 8.5, "cloudy")
    assert [(day.date, day.high, day.sky) for day in told.days] == [("2026-11-21", 9.9, "rain")]
    assert web.asked[1].url.params["latitude"] == "48.85"
    with pytest.raises(ToolError, match="no place"):
        await use(OpenMeteo, Web({"generationtime_ms": 0.1}), "forecast", place="Xyzzy")


@pytest.mark.parametrize(
    ("service", "name", "arguments", "variable"),
    [
        (Wolfram, "ask", {"question": "1+1"}, "WOLFRAM_APP_ID"),
        (Brave, "search", {"query": "x"}, "BRAVE_API_KEY"),
    ],
)  # fmt: skip
async def test_what_needs_a_key_says_so(service, name, arguments, variable, monkeypatch):
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ToolUnavailable, match=f"needs a key, in the variable {variable}"):
        await use(service, Web(), name, **arguments)
    monkeypatch.setenv(variable, "secret-key")
    with pytest.raises(ToolUnavailable, match="does not accept the key") as refusal:
        await use(service, Web(httpx.Response(403, text="no")), name, **arguments)
    assert "secret-key" not in str(refusal.value)
    with pytest.raises(ToolUnavailable, match="429") as busy:
        await use(service, Web(httpx.Response(429)), name, **arguments)
    assert busy.value.retry_after


async def test_services_with_a_key(monkeypatch):
    monkeypatch.setenv("WOLFRAM_APP_ID", "w")
    monkeypatch.setenv("BRAVE_API_KEY", "b")
    web = Web(httpx.Response(200, text="Result: 4"))
    assert await use(Wolfram, web, "ask", question="2+2") == "Result: 4"
    assert web.asked[0].headers["authorization"] == "Bearer w"
    with pytest.raises(ToolError, match="did not understand"):
        await use(
            Wolfram, Web(httpx.Response(501, text="Wolfram|Alpha did not understand")), "ask", question="?"
        )
    row = {"title": "AIOS", "url": "https://a.example/", "description": "An OS"}
    web = Web({"type": "search", "web": {"type": "search", "results": [row]}})
    (hit,) = await use(Brave, web, "search", query="aios")
    assert (hit.title, hit.url, hit.about) == ("AIOS", "https://a.example/", "An OS")
    assert web.asked[0].headers["x-subscription-token"] == "b"


async def test_they_are_packages_that_are_installed():
    found = {package.name: package for package in installed()}
    assert {"arxiv", "brave", "weather", "wikipedia", "wolfram"} <= set(found)
    async with ToolManager() as tools:
        tools.add(found["wikipedia"])
        assert [tool.name for tool in await tools.list()] == ["wikipedia__page", "wikipedia__search"]
        assert (await tools.show("wikipedia__page")).digest == digest_of(Path(wikipedia.__file__))


# -- recorded answers -------------------------------------------------------------------------------------


RECORDED = [
    ("arxiv-search", Arxiv, "search", {"query": "agent operating system", "limit": 2}, ""),
    ("brave-search", Brave, "search", {"query": "operating system", "limit": 2}, "BRAVE_API_KEY"),
    ("weather-forecast", OpenMeteo, "forecast", {"place": "Paris", "days": 2}, ""),
    ("wikipedia-search", Wikipedia, "search", {"query": "Ada Lovelace", "limit": 2}, ""),
    ("wikipedia-page", Wikipedia, "page", {"title": "Ada Lovelace"}, ""),
    ("wolfram-ask", Wolfram, "ask", {"question": "6*7"}, "WOLFRAM_APP_ID"),
]


@pytest.mark.parametrize(("name", "service", "tool", "arguments", "variable"), RECORDED, ids=lambda v: str(v))
async def test_recorded_answers_are_understood(
    name, service, tool, arguments, variable, monkeypatch, pytestconfig
):
    file = FOLDER / f"{name}.json"
    if not pytestconfig.getoption("record"):
        if variable:
            monkeypatch.setenv(variable, "a key of nobody")
        assert await use(service, Replay(file, {}), tool, **arguments)
        return
    if variable and not os.environ.get(variable):
        pytest.skip(f"no {variable} to record with")
    recorder = Recorder({variable: os.environ[variable]} if variable else {})
    assert await use(service, recorder, tool, **arguments)
    recorder.save(file, "recorded")


class Telltale(BaseHTTPRequestHandler):
    """A service that says the key wherever it can."""

    def do_GET(self):
        key = self.headers["X-Subscription-Token"]
        row = {"title": f"your key is {key}", "url": f"https://a.example/?{self.path}", "description": "é"}
        data = json.dumps({"web": {"results": [row]}}).encode()
        self.send_response(200)
        for name, value in (("Content-Type", "application/json"), ("Set-Cookie", f"key={key}")):
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format, *args):
        pass


@pytest.fixture
def telltale():
    with HTTPServer(("127.0.0.1", 0), Telltale) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/search"
        server.shutdown()
        thread.join()


async def test_a_recording_answers_as_the_service_did_and_holds_no_key(telltale, monkeypatch, tmp_path):
    key, file = "k3y/with +signs=", tmp_path / "deep" / "brave.json"
    monkeypatch.setenv("BRAVE_API_KEY", key)
    monkeypatch.setattr("aios.tools.services.brave.URL", telltale)
    recorder = Recorder({"BRAVE_API_KEY": key})
    (live,) = await use(Brave, recorder, "search", query=f"is {key} safe?")
    recorder.save(file, "recorded")
    written = file.read_text("utf-8")
    for form in (
        key,
        quote(key, safe=""),
        quote(key),
        quote_plus(key),
        quote_plus(key, safe="/"),
        "Set-Cookie",
    ):
        assert form not in written
    (again,) = await use(Brave, Replay(file, {"BRAVE_API_KEY": key}), "search", query=f"is {key} safe?")
    assert key in live.title
    assert again == Hit("your key is [secret:BRAVE_API_KEY]", again.url, live.about)
    with pytest.raises(ToolError, match="broken: AssertionError"):
        await use(Brave, Replay(file, {}), "search", query="something else")
    with pytest.raises(AssertionError, match="too short"):
        Recorder({"SHORT": "abc"})
