"""A job as a folder: asked for, done by a process of its own, followed and stopped through files alone. Knows no task."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.jobs.queue import (
        ACTIVE as ACTIVE,
        CANCELLED as CANCELLED,
        DONE as DONE,
        EVENTS as EVENTS,
        FAILED as FAILED,
        LOST as LOST,
        QUEUED as QUEUED,
        RESULT as RESULT,
        RUNNING as RUNNING,
        SPEC as SPEC,
        Job as Job,
        by_request as by_request,
        cancel as cancel,
        claim as claim,
        follow as follow,
        is_job as is_job,
        list_jobs as list_jobs,
        new_id as new_id,
        press as press,
        read_job as read_job,
        refusal as refusal,
        result as result,
        start as start,
        status as status,
        submit as submit,
        why_failed as why_failed,
    )


def __getattr__(name: str) -> Any:
    return getattr(import_module("core.jobs.queue"), name)
