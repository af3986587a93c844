"""The page in headless Chromium: used by mouse and keyboard, narrow and wide, light and dark.

Chromium and its driver are Debian's: ``apt-get install chromium chromium-driver``.
"""

from __future__ import annotations

import shutil

import pytest
from PIL import Image, ImageDraw

from mm_kptm.suites.search.index import update_index
from mm_kptm.suites.search.query import Searcher
from tests.suites.search.towers import age, model, served

pytestmark = pytest.mark.browser
LONG = "a-very-long-name-without-a-single-space-that-has-to-break-somewhere-0123456789.png"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "holiday pictures"
    (folder / "beach").mkdir(parents=True)
    for number in range(40):
        colour = [((255, 40 + 5 * number, 30)), (20, 190 - number, 80), (40, 60, 255 - 4 * number)][number % 3]
        image = Image.new("RGB", (360, 240) if number % 2 else (240, 360), (244, 240, 232))
        ImageDraw.Draw(image).ellipse((40, 40, 200, 200), fill=colour)
        ImageDraw.Draw(image).rectangle((0, 0, image.width, 30 + number), fill=colour)
        name = {4: LONG, 7: "<i>图<i> & 'quote'.png", 9: "صورة.png"}.get(number, f"beach/{number:02d}.png")
        image.save(folder / name)
        age(folder / name)
    index = folder.parent / "index"
    update_index(folder, index, model())
    with served(Searcher(index, model())) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    driver.folder = tmp_path_factory.mktemp("screenshots")
    yield driver
    driver.quit()


@pytest.fixture
def page(chromium, address):
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.set_window_size(1280, 900)
    chromium.get(address)
    chromium.get_log("browser")
    yield chromium
    assert chromium.get_log("browser") == [], "nothing is refused by the content security policy or missing"


def width(page, pixels, height=800):
    metrics = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": pixels < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def arrive(page, title):
    """Wait for the page of that title, to which a key leads."""
    from selenium.webdriver.support.expected_conditions import title_contains
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(page, 20).until(title_contains(title))


def keep(page, name):
    page.save_screenshot(str(page.folder / f"{name}.png"))


def find(page, selector):
    return page.find_element("css selector", selector)


def every(page, selector):
    return page.find_elements("css selector", selector)


def press(page, *keys):
    from selenium.webdriver import ActionChains

    ActionChains(page).send_keys(*keys).perform()


def loaded(page):
    """The number of pictures that are shown; those below are loaded when they are scrolled to."""
    page.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        "Promise.all([...document.images].map(i => {i.loading = 'eager'; return i.decode();})).then(() => done());"
    )
    return page.execute_script("return [...document.images].filter(i => i.complete && i.naturalWidth > 1).length")


def focused(page):
    return page.execute_script(
        "const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.innerText"
    )


def test_type_a_query_and_see_pictures(page):
    keep(page, "start")
    assert "40 pictures in holiday pictures" in find(page, "h1").text
    find(page, "#q").send_keys("blue")
    find(page, "button").click()
    arrive(page, "blue")
    assert find(page, "h1").text.startswith("Pictures nearest to") and "blue" in find(page, "h1").text
    assert find(page, ".facts").text.endswith("<b>blue</b> is a colour")
    assert len(every(page, ".grid li")) == loaded(page) == 24
    similarities = [float(one.text.split()[-1]) for one in every(page, ".similarity")]
    assert similarities == sorted(similarities, reverse=True)
    keep(page, "query")


def test_follow_more_like_this(page, address):
    page.get(f"{address}?q=red")
    name = every(page, ".grid .name")[0].text
    every(page, ".below a")[0].click()
    arrive(page, "Like ")
    assert find(page, "h1").text == f"More like {name}"
    assert name not in [one.text for one in every(page, ".grid .name")]
    assert loaded(page) == 25
    keep(page, "like")
    page.back()
    assert find(page, "#q").get_attribute("value") == "red"


def test_it_is_used_by_keyboard_alone(page, address):
    from selenium.webdriver.common.keys import Keys

    assert focused(page) == "q", "one may type at once"
    press(page, "green", Keys.ENTER)
    arrive(page, "green")
    assert "green" in find(page, "h1").text
    seen = []
    for _ in range(7):
        press(page, Keys.TAB)
        seen.append(focused(page))
        outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid", f"the focus shows on {seen[-1]}"
    assert seen[:4] == ["Skip to the pictures", "mm-kptm search", "q", "Search"]
    assert seen[5].startswith("more like ")
    page.get(f"{address}?q=green")
    press(page, Keys.TAB)
    keep(page, "skip-link")
    press(page, Keys.ENTER)
    assert focused(page) == "results"
    press(page, Keys.TAB, Keys.TAB)
    assert focused(page).startswith("more like ")
    press(page, Keys.ENTER)
    arrive(page, "Like ")
    assert find(page, "h1").text.startswith("More like ")


@pytest.mark.parametrize("pixels", [320, 390, 768, 1600])
@pytest.mark.parametrize("where", ["", "?q=red", "?like=" + LONG, "?q=red&k=0"])
def test_nothing_sticks_out_at_any_width(page, address, pixels, where):
    width(page, pixels)
    page.get(address + where)
    page.get_log("browser")  # the page of an error has status 400, which Chromium logs
    assert page.execute_script("return document.documentElement.scrollWidth") <= pixels
    outside = page.execute_script(
        "return [...document.querySelectorAll('body *:not(.skip):not(.label)')].filter(e => {"
        " const r = e.getBoundingClientRect(); return r.width && (r.right > innerWidth + 1 || r.left < -1)})"
        ".map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    assert all(one.size["height"] < 60 for one in every(page, ".name")), "long names are cut after two lines"
    if pixels == 320:
        assert len({one.location["x"] for one in every(page, ".grid li")}) in (0, 2), "two pictures a row"
    keep(page, f"width-{pixels}-{len(where)}")


CONTRAST = """
const parse = c => c.match(/[\\d.]+/g).map(Number);
const light = c => { const [r, g, b] = parse(c).slice(0, 3).map(v => { v /= 255;
  return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
const back = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (c.startsWith('rgb(') || parse(c)[3] > 0) return c; } return 'rgb(255, 255, 255)'; };
const says = e => [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim());
return [...document.querySelectorAll('body *')].filter(says)
  .map(e => { const a = light(getComputedStyle(e).color), b = light(back(e));
    return [(Math.max(a, b) + .05) / (Math.min(a, b) + .05), e.outerHTML.slice(0, 60)]; })
  .filter(([ratio]) => ratio < 4.5);
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_in_light_and_dark(page, address, scheme):
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    for where in ("", "?q=blue", "?q=blue&k=0"):
        page.get(address + where)
        assert page.execute_script(CONTRAST) == []
        keep(page, f"{scheme}-{len(where)}")
    page.get_log("browser")
    paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(21, 24, 27)") == (scheme == "dark")


def test_a_mistake_is_said_to_screen_readers(page, address):
    page.get(f"{address}?like=none.png")
    page.get_log("browser")
    assert find(page, "[role=alert]").text == ("The index has no picture 'none.png'.")
    keep(page, "error")
