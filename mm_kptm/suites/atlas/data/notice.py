"""The notice of a tier: who made what it holds, and under which licence."""

from __future__ import annotations

from collections.abc import Sequence

from mm_kptm.suites.atlas.data.packages import STYLES, TEXTS

APACHE = "https://www.apache.org/licenses/LICENSE-2.0"
MIT = """\
Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""
UNICODE = """\
UNICODE LICENSE V3

COPYRIGHT AND PERMISSION NOTICE

Copyright (C) 2004-2026 Unicode, Inc.

NOTICE TO USER: Carefully read the following legal agreement. BY DOWNLOADING, INSTALLING, COPYING OR OTHERWISE USING
DATA FILES, AND/OR SOFTWARE, YOU UNEQUIVOCALLY ACCEPT, AND AGREE TO BE BOUND BY, ALL OF THE TERMS AND CONDITIONS OF
THIS AGREEMENT. IF YOU DO NOT AGREE, DO NOT DOWNLOAD, INSTALL, COPY, DISTRIBUTE OR USE THE DATA FILES OR SOFTWARE.

Permission is hereby granted, free of charge, to any person obtaining a copy of data files and any associated
documentation (the "Data Files") or software and any associated documentation (the "Software") to deal in the Data
Files or Software without restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, and/or sell copies of the Data Files or Software, and to permit persons to whom the Data Files or Software
are furnished to do so, provided that either (a) this copyright and permission notice appear with all copies of the
Data Files or Software, or (b) this copyright and permission notice appear in associated Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT OF THIRD PARTY
RIGHTS.

IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE BE LIABLE FOR ANY CLAIM, OR ANY SPECIAL
INDIRECT OR CONSEQUENTIAL DAMAGES, OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THE DATA FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall not be used in advertising or otherwise to
promote the sale, use or other dealings in these Data Files or Software without prior written authorization of the
copyright holder."""


def notice(styles: Sequence[str]) -> str:
    """The notice of a tier with these styles."""
    lines = [
        "Atlas is derived from the packages below: drawings were drawn at 48 pixels, names and facts",
        "were selected and arranged as tables. The rest of the package is under its own licence.",
        "",
        "DRAWINGS",
    ]
    for name in styles:
        style = STYLES[name]
        lines.append(
            f"- {name}: {style.holder}, {style.licence}; {style.archive.package} {style.archive.version} "
            f"({style.archive.registry})"
        )
    lines += ["", "NAMES AND FACTS"]
    lines += [
        f"- {who}; {licence}; {archive.package} {archive.version} ({archive.registry})"
        for archive, licence, who in TEXTS
    ]
    lines += [
        "",
        f"Apache-2.0: {APACHE}; its text is in the file LICENSE of this package.",
        "CC-BY-4.0: https://creativecommons.org/licenses/by/4.0/; what GeoNames gives was selected and corrected.",
        *(
            ["CC-BY-SA-4.0: https://creativecommons.org/licenses/by-sa/4.0/; what is derived from it is under it, too."]
            if any(STYLES[name].licence.startswith("CC-BY-SA") for name in styles)
            else []
        ),
        "",
        "MIT",
        "",
        "Copyright (c) Microsoft Corporation; (c) 2013 Panayiotis Lipiridis; (c) 2026 HatScripts;",
        "(c) 2017-2019 Miles Johnson",
        "",
        MIT,
        "",
        "UNICODE-3.0",
        "",
        UNICODE,
    ]
    return "\n".join(lines) + "\n"
