"""What every broker promises, as tests.

A sibling's test file subclasses `BrokerContract` and gives the fixture `broker_url`: the URL of
an empty broker.  What the sibling cannot do it says with the class attributes, and why.
"""

from __future__ import annotations

from .cases import MakeBroker, collect, stat, tags, texts
from .contract_inspection import InspectionCases
from .contract_leading import LeadingCases
from .contract_leases import LeaseCases
from .contract_messages import MessageCases
from .contract_queues import QueueCases
from .contract_revocations import RevocationCases

__all__ = ["BrokerContract", "MakeBroker", "collect", "stat", "tags", "texts"]


class BrokerContract(
    MessageCases, RevocationCases, QueueCases, InspectionCases, LeaseCases, LeadingCases
):
    """All cases."""
