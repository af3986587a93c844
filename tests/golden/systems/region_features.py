"""Post-processing of bottom-up attention against the released scripts, on random outputs of the network."""

import torch
from torchvision.ops import roi_pool

from mm_kptm.vision.extractors.proposals import ProposalRule, anchors, propose
from mm_kptm.vision.extractors.resizing import ShortSide, caffe_input
from mm_kptm.vision.extractors.selection import SelectionRule, best_class, select, surviving_confidences
from tests.golden.case import Answer, Case


def extract(case: Case) -> dict[str, Answer]:
    config, given = case.config, case.inputs
    rule = ProposalRule(
        stride=config["feat_stride"],
        scales=tuple(config["anchor_scales"]),
        ratios=tuple(config["anchor_ratios"]),
        before_nms=config["rpn_pre_nms"],
        after_nms=config["rpn_post_nms"],
        nms=config["rpn_nms"],
        min_size=config["rpn_min_size"],
    )
    height, width, scale = given["im_info"][0].tolist()
    rois, scores = propose(given["rpn_fg"][0], given["rpn_deltas"][0], (height, width), scale, rule)
    boxes = rois / config["image_scale_of_rois"]
    confidences = surviving_confidences(boxes, given["cls_prob"], config["nms"])
    batched = torch.cat([torch.zeros(len(rois), 1), rois], dim=1)
    blob, image_scale = caffe_input(
        given["image"].numpy(),
        ShortSide(config["test_scale"], config["max_size"]),
        tuple(config["pixel_means_bgr"]),
    )
    limits = {"fixed": (config["max_boxes"], config["max_boxes"])}
    answers = {
        "anchors": anchors(rule),
        "rois": batched,
        "roi_scores": scores[:, None],
        "boxes": boxes,
        "max_conf": confidences,
        "image_blob": blob[None],
        "image_scale": torch.tensor([image_scale]),
    }
    for name, threshold in config["conf_thresh"].items():
        least, most = limits.get(name, (config["min_boxes"], config["max_boxes"]))
        answers[f"{name}.keep"] = select(confidences, SelectionRule(least, most, threshold, config["nms"]))
    kept = answers["adaptive.keep"]
    for name, probs in (("objects", given["cls_prob"]), ("attrs", given["attr_prob"])):
        answers[f"adaptive.{name}_id"], answers[f"adaptive.{name}_conf"] = best_class(probs[kept])
    count, _, size, _ = case.outputs["roi_pooled"].shape
    answers["roi_pooled"] = roi_pool(given["feature_map"], batched[:count], size, 1 / rule.stride)
    # colours lie between -128 and 255, where the last bit of float32 is worth 1.5e-5
    return {name: Answer(value, atol=5e-5 if name == "image_blob" else 1e-5) for name, value in answers.items()}


CASES = {"extract": extract}
