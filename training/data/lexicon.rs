//! The words of the generated corpus.

/// Singular or plural.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Number {
    Singular,
    Plural,
}

pub(super) const NUMBERS: [Number; 2] = [Number::Singular, Number::Plural];

impl Number {
    pub(super) fn choose<T>(self, singular: T, plural: T) -> T {
        match self {
            Number::Singular => singular,
            Number::Plural => plural,
        }
    }
}

/// What a noun names: things are acted on, people act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Person,
    Thing,
}

/// The two forms of a noun or verb.
#[derive(Clone, Copy)]
pub(super) struct Forms(&'static str, &'static str);

impl Forms {
    pub(super) fn form(self, number: Number) -> &'static str {
        number.choose(self.0, self.1)
    }
}

/// What an article can be about.
pub(super) struct Topic {
    pub(super) place: &'static str,
    pub(super) people: [Forms; 4],
    pub(super) things: [Forms; 5],
}

/// Someone, and the pronoun that a sentence about them begins with.
pub(super) struct Name {
    pub(super) name: &'static str,
    pub(super) pronoun: &'static str,
}

const fn she(name: &'static str) -> Name {
    Name { name, pronoun: "She" }
}

const fn he(name: &'static str) -> Name {
    Name { name, pronoun: "He" }
}

#[rustfmt::skip]
pub(super) const NAMES: [Name; 16] = [
    she("Anna"), she("Clara"), she("Emma"), she("Ida"),
    she("Lena"), she("Maria"), she("Nora"), she("Vera"),
    he("Bruno"), he("Carl"), he("Emil"), he("Felix"),
    he("Hugo"), he("Leo"), he("Oscar"), he("Paul"),
];

pub(super) const TOPICS: [Topic; 12] = [
    Topic {
        place: "harbour",
        people: [
            Forms("sailor", "sailors"),
            Forms("captain", "captains"),
            Forms("diver", "divers"),
            Forms("fisherman", "fishermen"),
        ],
        things: [
            Forms("boat", "boats"),
            Forms("net", "nets"),
            Forms("anchor", "anchors"),
            Forms("rope", "ropes"),
            Forms("lantern", "lanterns"),
        ],
    },
    Topic {
        place: "garden",
        people: [
            Forms("gardener", "gardeners"),
            Forms("neighbour", "neighbours"),
            Forms("child", "children"),
            Forms("painter", "painters"),
        ],
        things: [
            Forms("rose", "roses"),
            Forms("hedge", "hedges"),
            Forms("pond", "ponds"),
            Forms("fence", "fences"),
            Forms("bench", "benches"),
        ],
    },
    Topic {
        place: "kitchen",
        people: [
            Forms("cook", "cooks"),
            Forms("baker", "bakers"),
            Forms("guest", "guests"),
            Forms("waiter", "waiters"),
        ],
        things: [
            Forms("plate", "plates"),
            Forms("oven", "ovens"),
            Forms("spoon", "spoons"),
            Forms("kettle", "kettles"),
            Forms("pie", "pies"),
        ],
    },
    Topic {
        place: "castle",
        people: [
            Forms("king", "kings"),
            Forms("queen", "queens"),
            Forms("knight", "knights"),
            Forms("guard", "guards"),
        ],
        things: [
            Forms("tower", "towers"),
            Forms("gate", "gates"),
            Forms("sword", "swords"),
            Forms("crown", "crowns"),
            Forms("banner", "banners"),
        ],
    },
    Topic {
        place: "school",
        people: [
            Forms("teacher", "teachers"),
            Forms("pupil", "pupils"),
            Forms("student", "students"),
            Forms("visitor", "visitors"),
        ],
        things: [
            Forms("book", "books"),
            Forms("desk", "desks"),
            Forms("map", "maps"),
            Forms("pencil", "pencils"),
            Forms("bell", "bells"),
        ],
    },
    Topic {
        place: "farm",
        people: [
            Forms("farmer", "farmers"),
            Forms("shepherd", "shepherds"),
            Forms("miller", "millers"),
            Forms("boy", "boys"),
        ],
        things: [
            Forms("barn", "barns"),
            Forms("field", "fields"),
            Forms("cart", "carts"),
            Forms("plough", "ploughs"),
            Forms("wagon", "wagons"),
        ],
    },
    Topic {
        place: "theatre",
        people: [
            Forms("actor", "actors"),
            Forms("singer", "singers"),
            Forms("dancer", "dancers"),
            Forms("director", "directors"),
        ],
        things: [
            Forms("curtain", "curtains"),
            Forms("mask", "masks"),
            Forms("costume", "costumes"),
            Forms("ticket", "tickets"),
            Forms("mirror", "mirrors"),
        ],
    },
    Topic {
        place: "market",
        people: [
            Forms("merchant", "merchants"),
            Forms("customer", "customers"),
            Forms("weaver", "weavers"),
            Forms("potter", "potters"),
        ],
        things: [
            Forms("basket", "baskets"),
            Forms("stall", "stalls"),
            Forms("coin", "coins"),
            Forms("carpet", "carpets"),
            Forms("melon", "melons"),
        ],
    },
    Topic {
        place: "library",
        people: [
            Forms("librarian", "librarians"),
            Forms("reader", "readers"),
            Forms("writer", "writers"),
            Forms("scholar", "scholars"),
        ],
        things: [
            Forms("shelf", "shelves"),
            Forms("letter", "letters"),
            Forms("lamp", "lamps"),
            Forms("scroll", "scrolls"),
            Forms("ladder", "ladders"),
        ],
    },
    Topic {
        place: "mountain",
        people: [
            Forms("climber", "climbers"),
            Forms("guide", "guides"),
            Forms("hunter", "hunters"),
            Forms("hermit", "hermits"),
        ],
        things: [
            Forms("cabin", "cabins"),
            Forms("path", "paths"),
            Forms("stream", "streams"),
            Forms("cliff", "cliffs"),
            Forms("bridge", "bridges"),
        ],
    },
    Topic {
        place: "hospital",
        people: [
            Forms("doctor", "doctors"),
            Forms("nurse", "nurses"),
            Forms("patient", "patients"),
            Forms("surgeon", "surgeons"),
        ],
        things: [
            Forms("bed", "beds"),
            Forms("bottle", "bottles"),
            Forms("window", "windows"),
            Forms("blanket", "blankets"),
            Forms("chart", "charts"),
        ],
    },
    Topic {
        place: "station",
        people: [
            Forms("driver", "drivers"),
            Forms("passenger", "passengers"),
            Forms("porter", "porters"),
            Forms("conductor", "conductors"),
        ],
        things: [
            Forms("train", "trains"),
            Forms("suitcase", "suitcases"),
            Forms("engine", "engines"),
            Forms("platform", "platforms"),
            Forms("clock", "clocks"),
        ],
    },
];

/// What people do to people.
pub(super) const VERBS_ON_PEOPLE: [Forms; 8] = [
    Forms("knows", "know"),
    Forms("helps", "help"),
    Forms("visits", "visit"),
    Forms("admires", "admire"),
    Forms("follows", "follow"),
    Forms("trusts", "trust"),
    Forms("calls", "call"),
    Forms("teases", "tease"),
];

/// What people do to things.
pub(super) const VERBS_ON_THINGS: [Forms; 8] = [
    Forms("sees", "see"),
    Forms("paints", "paint"),
    Forms("carries", "carry"),
    Forms("repairs", "repair"),
    Forms("buys", "buy"),
    Forms("sells", "sell"),
    Forms("cleans", "clean"),
    Forms("draws", "draw"),
];

/// What people do.
pub(super) const VERBS_ALONE: [Forms; 6] = [
    Forms("waits", "wait"),
    Forms("works", "work"),
    Forms("laughs", "laugh"),
    Forms("sings", "sing"),
    Forms("sleeps", "sleep"),
    Forms("smiles", "smile"),
];

/// How people are.
pub(super) const PERSON_ADJECTIVES: [&str; 8] =
    ["old", "young", "tall", "kind", "clever", "proud", "quiet", "tired"];

/// How things are.
pub(super) const THING_ADJECTIVES: [&str; 8] =
    ["small", "old", "red", "new", "heavy", "blue", "broken", "green"];

/// How or when someone does something.
pub(super) const ADVERBS: [&str; 6] = ["often", "again", "today", "quietly", "slowly", "together"];

/// Where something is.
pub(super) const PREPOSITIONS: [&str; 4] = ["near", "behind", "beside", "before"];

/// How two people part.
pub(super) const PARTINGS: [&str; 4] = ["thanks", "leaves", "forgives", "invites"];
