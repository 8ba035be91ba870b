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
        escalate_cancel as escalate_cancel,
        follow as follow,
        is_job as is_job,
        list_jobs as list_jobs,
        new_id as new_id,
        os_error_message as os_error_message,
        read_job as read_job,
        result as result,
        start as start,
        status as status,
        submit as submit,
        why_failed as why_failed,
    )


def __getattr__(name: str) -> Any:
    return getattr(import_module("core.jobs.queue"), name)
