"""The page answers what it can, refuses the rest cleanly, and never leaves the index."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from html.parser import HTMLParser
from urllib.parse import quote, urljoin

import pytest
import uvicorn

from mm_kptm.errors import UserError
from mm_kptm.suites.search import serve as serving
from mm_kptm.suites.search.index import update_index
from mm_kptm.suites.search.query import Searcher
from tests.suites.search.towers import model, paint, served


@pytest.fixture
def port(index):
    with served(Searcher(index, model()), names=["pictures.example"]) as port:
        yield port


def get(port, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest(method, path, skip_host="host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, content


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


class Page(HTMLParser):
    """What a page holds: its tags, and what it loads and links."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.loaded, self.links, self.attributes = [], [], [], []
        self.feed(content.decode())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attributes)))
        for name, value in attributes:
            if name == "src" or (tag == "link" and name == "href"):
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)


def shown(content):
    return re.findall(r'<p class="name" title="[^"]*"><bdi>(.*?)</bdi>', content.decode())


def test_a_text_finds_pictures(port):
    status, headers, content = get(port, "/?q=" + quote("蓝"))
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert shown(content)[:2] == ["blue.png", "dark/blue.jpg"]
    assert b'<span class="label">similarity </span>0.9' in content
    assert 'value="蓝"' in content.decode()


def test_a_page_works_without_scripts_and_loads_nothing_from_elsewhere(port):
    for path in ("/", "/?q=red", "/?like=red.png", "/?q=red&k=0"):
        page = Page(get(port, path)[2])
        assert "script" not in page.tags and "style" not in page.tags
        assert all(address.startswith("/") and not address.startswith("//") for address in page.loaded + page.links[1:])
        assert not [name for _, attributes in page.attributes for name in attributes if name.startswith("on")]
        for address in page.loaded:
            assert get(port, address)[0] == 200


def test_every_link_of_a_page_leads_somewhere(port):
    page = Page(get(port, "/?q=red")[2])
    assert len(page.links) > 12
    for link in page.links:
        assert get(port, urljoin("/?q=red", link).partition("#")[0])[0] == 200, link


def test_more_like_this(port):
    content = get(port, "/?q=red")[2].decode()
    (first, *_) = re.findall(r'<a href="(/\?like=[^"]*)"', content)
    status, _, content = get(port, first)
    assert (status, shown(content)[0]) == (200, "dark/red.png")
    assert "More like <bdi>red.png</bdi>" in content.decode()


def test_facts_that_the_text_tower_reads_are_shown(port):
    content = get(port, "/?q=red")[2].decode()
    assert "&lt;b&gt;red&lt;/b&gt; is a colour" in content
    assert "Facts that were read" not in get(port, "/?q=noon")[2].decode()


def test_the_page_without_a_question_shows_the_folder(port):
    content = get(port, "/")[2].decode()
    assert "6 pictures in <bdi>pictures</bdi>" in content
    assert "similarity" not in content
    assert "autofocus" in content and "autofocus" not in get(port, "/?q=red")[2].decode()


def test_more_pictures_are_a_link_away(port):
    content = get(port, "/?q=red&k=4")[2].decode()
    (more,) = re.findall(r'<p class="more"><a href="([^"]*)"', content)
    assert len(shown(content.encode())) == 4
    content = get(port, more.replace("&amp;", "&"))[2].decode()
    assert len(shown(content.encode())) == 6 and 'class="more"' not in content


def test_a_folder_of_one_picture_says_that_there_is_no_other(tmp_path):
    folder = paint(tmp_path / "one/x.png", (1, 1, 1)).parent
    update_index(folder, tmp_path / "index", model())
    with served(Searcher(tmp_path / "index", model())) as port:
        status, _, content = get(port, "/?like=x.png")
    assert status == 200 and b"There is no other picture in this folder." in content


def test_pictures_and_thumbnails(port, pictures):
    status, headers, content = get(port, "/picture/dark/red.png")
    assert (status, headers["content-type"], content) == (200, "image/png", (pictures / "dark/red.png").read_bytes())
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    status, headers, content = get(port, "/thumbnail/dark/red.png")
    assert (status, headers["content-type"], content[:3]) == (200, "image/jpeg", b"\xff\xd8\xff")
    assert get(port, "/thumbnail/dark/red.png", if_none_match=headers["etag"])[0] == 304


def test_a_picture_that_browsers_do_not_show_is_shown_by_its_thumbnail(index, pictures):
    paint(pictures / "scan.tiff", (5, 5, 5))
    update_index(pictures, index, model())
    with served(Searcher(index, model())) as port:
        assert get(port, "/picture/scan.tiff")[1]["content-type"] == "image/jpeg"


HOSTILE = [
    "../index/current", "..%2f..%2fetc%2fpasswd", "%2e%2e/index/current", "/etc/passwd", "%2fetc%2fpasswd", "..", ".",
    "", "red.png%00", "red.png/..", "dark/../red.png", "./red.png", "dark%5c..%5cred.png", "lock", "%ff", "red.png/",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["picture", "thumbnail"])
def test_nothing_outside_of_the_index_is_served(port, kind, name):
    status, _, content = get(port, f"/{kind}/{name}")
    assert status == 404
    assert content in (b"no such picture\n",) or b"There is no such page" in content


def test_a_picture_that_became_a_link_out_of_the_folder_is_not_served(port, pictures, tmp_path):
    (tmp_path / "secret.png").write_text("secret")
    (pictures / "red.png").unlink()
    (pictures / "red.png").symlink_to(tmp_path / "secret.png")
    status, _, content = get(port, "/picture/red.png")
    assert (status, content) == (404, b"this picture is no longer in the folder\n")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("q=red&k=0", "The address asks for &#39;0&#39; pictures; from 1 to 1000 can be shown"),
        ("q=red&k=many", "from 1 to 1000 can be shown"),
        ("q=red&k=9" + "9" * 400, "from 1 to 1000 can be shown"),
        ("q=red&k=٣", "malformed"),
        ("q=red&q=blue", "the same thing twice"),
        ("q=red&like=red.png", "search by one of them"),
        ("q=" + "a" * 2001, "The text has 2001 letters; up to 2000 are searched for"),
        ("q=", "An empty text was searched for"),
        ("q=+%20", "An empty text was searched for"),
        ("q=a%00b", "malformed"),
        ("nonsense", "malformed"),
        ("&&", "malformed"),
        ("sort=up", "The address asks for &#39;sort&#39;; the page knows q, like, k, each once"),
        ("%3Cscript%3E=1", "&lt;script&gt;"),
        ("like=rad.png", "did you mean red.png?"),
        ("like=../index/lock", "has no picture"),
        ("like=%ff%fe", "has no picture"),
    ],
)
def test_a_malformed_question_is_answered_by_400_and_a_sentence(port, query, said):
    status, headers, content = get(port, "/?" + quote(query, safe="=&%+/"))
    if said == "malformed" and "٣" in query:
        said = "from 1 to 1000 can be shown"
    assert (status, headers["content-type"]) == (400, "text/html; charset=utf-8")
    assert said in content.decode()
    assert 'role="alert"' in content.decode()


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nbroken\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 40_000,
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: many\r\n\r\n",
    ],
)
def test_a_malformed_request_is_answered_by_400(port, request_):
    assert raw(port, request_).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert get(port, "/")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_written(port, method):
    assert get(port, "/", method, content_length="0")[0] == 405


def test_an_unknown_page_says_so(port):
    status, headers, content = get(port, "/admin")
    assert status == 404 and b"There is no such page" in content and headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/", "/?q=red", "/?k=0", "/style.css", "/thumbnail/red.png", "/nowhere", "/favicon.ico"]
)
def test_every_answer_has_the_headers(port, path):
    _, headers, _ = get(port, path)
    assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'; style-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "server" not in headers


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8642", "pictures.example", "192.0.2.7"]
)
def test_own_names_are_answered(port, host):
    assert get(port, "/", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "localhost:x", "", "[::1"]
)
def test_a_name_of_another_site_is_refused(port, host):
    status, headers, content = get(port, "/", host=host)
    assert status == 400 and b"name that it does not know" in content
    assert "content-security-policy" in headers


def test_names_are_escaped(tmp_path):
    names = ["<script>alert(1)</script>.png", '"><img src=x onerror=alert(1)>.png', "' & ü 图 %41?#.png", "a\nb.png"]
    for number, name in enumerate(names):
        paint(tmp_path / "p" / name.replace("/", "∕"), (number, 9, 9))
    update_index(tmp_path / "p", tmp_path / "index", model())
    with served(Searcher(tmp_path / "index", model())) as port:
        for path in ("/", "/?q=" + quote("<script>alert(2)</script>"), "/?like=" + quote(names[2])):
            status, _, content = get(port, path)
            page = Page(content)
            assert status == 200 and "script" not in page.tags and b"<img src=x" not in content
            assert page.tags.count("img") >= 3
            for address in page.loaded + page.links:
                assert get(port, urljoin(path, address).partition("#")[0])[0] == 200, address


def test_two_hundred_concurrent_queries_are_answered_or_refused(index):
    towers = model()
    real = towers.system.encode_text
    towers.system.encode_text = lambda texts: (time.sleep(0.01), real(texts))[1]
    with served(Searcher(index, towers)) as port, ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: get(port, "/?q=red"), range(200)))
        assert get(port, "/?q=red")[0] == 200
    statuses = [status for status, *_ in answers]
    assert set(statuses) <= {200, 503} and statuses.count(200) >= 66
    for status, headers, content in answers:
        assert (b"Many queries are being answered" in content) == (status == 503) == ("retry-after" in headers)


def test_queries_above_the_limit_are_refused(index, monkeypatch):
    monkeypatch.setattr(serving, "WAITING", 0)
    towers, started, go = model(), threading.Semaphore(0), threading.Event()
    real = towers.system.encode_text

    def waiting(texts):
        started.release()
        go.wait(30)
        return real(texts)

    towers.system.encode_text = waiting
    with served(Searcher(index, towers)) as port, ThreadPoolExecutor(2) as pool:
        inside = [pool.submit(get, port, "/?q=red") for _ in range(serving.AT_ONCE)]
        assert all(started.acquire(timeout=30) for _ in inside)
        status, headers, _ = get(port, "/?like=red.png")
        go.set()
        assert (status, headers["retry-after"]) == (503, "1")
        assert [one.result()[0] for one in inside] == [200, 200]


def test_a_new_index_is_served_at_once(port, index, pictures):
    paint(pictures / "very red.png", (255, 0, 0))
    update_index(pictures, index, model())
    assert shown(get(port, "/?q=red")[2])[0] == "very red.png"
    assert get(port, "/thumbnail/very%20red.png")[0] == 200


def test_a_port_that_is_taken_is_refused_with_the_way_out():
    refusal = r"cannot be listened at: Address already in use; name another --port, or 0"
    with serving._listening("127.0.0.1", 0) as taken, pytest.raises(UserError, match=refusal):
        serving._listening("127.0.0.1", taken.getsockname()[1])


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("::1", False), ("0.0.0.0", True)])
def test_another_address_than_the_loopback_is_said(index, monkeypatch, capsys, host, warned):
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    with pytest.warns() if warned else _silence() as notices:
        serving.serve(Searcher(index, model()), host=host, port=0)
    assert re.match(r"http://(\[::1\]|127.0.0.1|0.0.0.0):\d+/  \(stop with Ctrl-C\)", capsys.readouterr().out)
    assert not warned or "is open to every machine that reaches 0.0.0.0, without a password" in str(notices[0].message)


@contextmanager
def _silence():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield []
