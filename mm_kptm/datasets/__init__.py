"""Datasets of an experiment: settings of a ``data:`` block, and their preparation for each task."""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.datasets.knowledge_settings import KnowledgeFileSettings, KnowledgeTextSettings
    from mm_kptm.datasets.labelled import labelled_files
    from mm_kptm.datasets.protocol import (
        AuxiliaryObjective,
        DataRequest,
        PreparedData,
        TaskDataset,
        find_task_dataset,
        task_datasets,
    )
    from mm_kptm.datasets.settings import SplitFiles, TextSettings
else:
    __getattr__ = lazy(
        __name__,
        {
            "knowledge_settings": ["KnowledgeFileSettings", "KnowledgeTextSettings"],
            "labelled": ["labelled_files"],
            "protocol": [
                "AuxiliaryObjective",
                "DataRequest",
                "PreparedData",
                "TaskDataset",
                "find_task_dataset",
                "task_datasets",
            ],
            "settings": ["SplitFiles", "TextSettings"],
        },
        rooms=["knowledge", "pretraining", "text", "vision"],
    )

__all__ = [
    "AuxiliaryObjective",
    "DataRequest",
    "KnowledgeFileSettings",
    "KnowledgeTextSettings",
    "PreparedData",
    "SplitFiles",
    "TaskDataset",
    "TextSettings",
    "find_task_dataset",
    "knowledge",
    "labelled_files",
    "pretraining",
    "task_datasets",
    "text",
    "vision",
]
