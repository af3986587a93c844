"""COCO and Flickr30k captions and RefCOCO expressions as data of an experiment, with region features of yours."""

from __future__ import annotations
