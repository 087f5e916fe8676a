"""What the switched-on feeds state at all. A number needs facts, and a fact that nobody gives is unknown, not 0.

A fact is a column of a core table, or what stands in one: `won`, `lost` and `person` of an opportunity, a stage, a type
of e-mail event, a category of costs. A vendor's mapping states all that its table can say, unless its stream `states`
less; a file states what its mapping declares, and of a column with many words those that its rows hold. A level of a
table is a fact, too.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, literal, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_cells import CLICK_IDS
from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.configuration.file_tables import OpportunityTable
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.file_coverage import why_nothing
from b2b_pipeline.warehouse.tables import metadata

# The column whose words are facts: which ones a file states is seen in its rows.
WORDS = {"stage_event": "to_stage", "email_event": "event_type", "cost_ledger": "category"}
SELDOM = {"form_event": {"session_id"}}  # facts that a stream states only where it says so itself
OF_ONE_SOURCE = "opportunity"  # of which the system of record's rows count alone
HINTS = {
    "opportunity.won": "nothing says which deals are won: map won_date or is_won, or list the won stages",
    "opportunity.lost": "nothing says which deals are lost: map lost_date or is_closed, or list the lost stages",
    "opportunity.created_at": "nothing says when deals were opened: map created_at",
    "opportunity.close_date": "nothing says when deals were closed: map close_date",
    "opportunity.amount": "nothing gives the amount of deals: map amount",
    "opportunity.account_id": "nothing says which account a deal belongs to: map account_id",
    "opportunity.person": "nothing ties deals to leads: map lead_id or email, or read what a CRM ties them by",
    "touchpoint.channel": "nothing gives the channel of touches: map channel, a click id or utm_medium",
    "spend.spend": "nothing gives the cost of ads: map spend",
    "spend.impressions": "nothing gives impressions: map impressions",
    "spend.clicks": "nothing gives clicks: map clicks",
    "spend.conversions_platform": "nothing gives the platform's conversions: map conversions_platform",
    "spend.conv_value_platform": "nothing gives the value of the platform's conversions: map conv_value_platform",
    "invoice.amount": "nothing gives invoices: read a billing system",
    "subscription.started_at": "nothing gives subscriptions: read a billing system",
    "subscription.ended_at": "nothing gives subscriptions: read a billing system",
    "web_traffic_daily.property": "nothing gives the visits of a web property as a whole: switch ga4 on",
    "web_traffic_daily.landing_page": "nothing gives the visits by landing page: switch ga4 on",
    "search_console_daily.site": "nothing gives the searches of a site as a whole: switch search_console on",
    "survey_response.nps": "no survey gives a likelihood to recommend: read one with an NPS question (typeform)",
    "survey_response.csat": "no survey gives a satisfaction: read one with a rating (typeform)",
    "support_ticket.csat": "nothing gives ratings of support: switch on a help desk that has them",
    "web_behaviour_daily.dead_clicks": "nothing records how visitors fare on the site: switch clarity on",
    "web_session": "nothing gives visits one by one: switch ga4_export on, or collector with `b2b collect`",
    "form_event.session_id": "nothing tells in which visits forms were sent: read the stream form of collector, or of "
    "ga4_export",
    "cost_ledger.salaries_sales": "no sales cost is in the cost ledger",
    "pr_mention.estimated_reach": "nothing gives the reach of mentions: map estimated_reach",
    "community_daily.members": "nothing gives the members of a community: switch discourse on",
    "community_daily.followers": "nothing gives followers on social networks: switch linkedin_pages or x on",
    "community_daily.active_members": "nothing says how many members were active: switch discourse on",
}


class Need(NamedTuple):
    """Rows of a core table that state one of `facts`; without any, just rows."""

    table: str
    facts: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """What to do where nobody gives it."""
        if not self.facts:
            return HINTS.get(self.table) or f"nothing that is switched on gives rows of {self.table}"
        if hint := HINTS.get(f"{self.table}.{self.facts[0]}"):
            return hint
        if self.table == "stage_event":
            stage = self.facts[0]
            return f"nothing says who became {stage}: map a stage of the source to {stage}, or its day in a file"
        return f"nothing gives {self.table.replace('_', ' ')} {' or '.join(self.facts)}"


class Facts:
    """Which needs are met. Asked once each."""

    def __init__(self, connection: Connection, config: Config) -> None:
        self._connection, self._config = connection, config
        self._known: dict[Need, str] = {}

    def why_not(self, need: Need) -> str:
        """Why a need is not met; empty when it is."""
        if need not in self._known:
            nothing = why_nothing(self._connection, need.table, self._feeds(need.table))
            self._known[need] = nothing or ("" if self._is_met(need) else need.hint)
        return self._known[need]

    def silent(self, need: Need) -> list[str]:
        """Of the file mappings that feed deals: those that do not state what others do; numbers lack their part."""
        fed = self._feeds(need.table) if need.table == OF_ONE_SOURCE and need.facts else []
        told = {name for feed in fed if not _states(feed, need, self._config) and (name := self._name(feed))}
        return sorted(told) if len(told) < len(fed) else []

    def _is_met(self, need: Need) -> bool:
        fed = self._feeds(need.table)
        if not need.facts or not fed:
            return any(feed.files is not None or _stated(feed, need, self._config) != frozenset() for feed in fed)
        return any(_states(feed, need, self._config) for feed in fed) or (
            any(_shows_in_rows(feed, need.table) for feed in fed) and self._is_seen(need)
        )

    def _feeds(self, table: str) -> list[Feed]:
        found = feeds(table, self._config)
        return [feed for feed in found if table != OF_ONE_SOURCE or feed.source == self._config.system_of_record]

    def _is_seen(self, need: Need) -> bool:
        table = metadata.tables[need.table]
        rows = select(literal(1)).where(table.c[WORDS[need.table]].in_(need.facts)).limit(1)
        if need.table == "stage_event":  # a stage of deals may have the same name
            rows = rows.where(table.c.object == "lead")
        return self._connection.execute(rows).first() is not None

    def _name(self, feed: Feed) -> str:
        return next((name for name, mapping in self._config.files.items() if mapping is feed.files), "")


def _states(feed: Feed, need: Need, config: Config) -> bool:
    if feed.files is not None:
        return not _of_file(feed.files, need.table).isdisjoint(need.facts)
    level, stated = SOURCES[feed.source].stream(feed.stream).level, _stated(feed, need, config)
    if level in need.facts:
        return True
    if stated is None and SELDOM.get(need.table, set()).issuperset(need.facts):
        return False
    if stated is None:
        return not level or not set(metadata.tables[need.table].info["allowed"]["level"]).issuperset(need.facts)
    return not stated.isdisjoint(need.facts)


def _stated(feed: Feed, need: Need, config: Config) -> frozenset[str] | None:
    """What a vendor's rows state, where that is not all that the table can; of nothing there are no rows that count."""
    stated = SOURCES[feed.source].stream(feed.stream).states.get(need.table)
    return None if stated is None else frozenset(stated(config))


def _shows_in_rows(feed: Feed, table: str) -> bool:
    return feed.files is not None and _has_words(feed.files, table)


def _has_words(mapping: FileMapping, table: str) -> bool:
    """Whether a file has a column of words, which its mapping does not know."""
    given = mapping.tables.given().get(table)
    cell = getattr(given.columns, WORDS.get(table, ""), None) if given else None
    return cell is not None and cell.value is None


def stated_by(mapping: FileMapping, name: str, seen: set[str]) -> frozenset[str]:
    """The facts that rows of a file state, of which `seen` stand in them."""
    return _of_file(mapping, name) | (frozenset(seen) if _has_words(mapping, name) else frozenset())


def _of_file(mapping: FileMapping, name: str) -> frozenset[str]:
    """The facts that rows of a file state by its mapping alone."""
    table = mapping.tables.given().get(name)
    columns = type(table.columns).model_fields if table else ()
    found = {column for column in columns if getattr(table.columns, column) is not None} if table else set()
    if name in WORDS and table and (cell := getattr(table.columns, WORDS[name])) is not None and cell.value:
        found.add(cell.value)
    if name == "stage_event" and mapping.tables.lead:
        found |= set(mapping.tables.lead.stages)
    if name == "email_event":
        found |= set(getattr(table, "events", ()))
    if name == "touchpoint" and (found & {"utm_medium", *CLICK_IDS} or mapping.tables.email_event):
        found.add("channel")  # by the channel rules; that of a click in an e-mail is `email`
    return frozenset(found | _of_deals(table, mapping) if isinstance(table, OpportunityTable) else found)


def _of_deals(table: OpportunityTable, mapping: FileMapping) -> set[str]:
    """What is won and lost is said by dates, by flags or by lists of stages; flags go before lists."""
    columns = table.columns
    stated = {
        "won": columns.won_date or columns.is_won or table.won,
        "lost": columns.lost_date or columns.is_closed or (table.lost and not columns.is_won),
        "close_date": columns.close_date or columns.won_date or columns.lost_date,
        "person": columns.lead_id or columns.email or mapping.tables.lead,
    }  # fmt: skip
    return {fact for fact, given in stated.items() if given}
