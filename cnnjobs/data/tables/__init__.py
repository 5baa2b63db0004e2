"""`index --table`: labels, groups, splits, sources and more of the images, from tables."""

from cnnjobs.data.tables.images import RESERVED as RESERVED
from cnnjobs.data.tables.rules import TableRules as TableRules
from cnnjobs.data.tables.rules import applied as applied
