"""The comparison of the hybrid trainer with the best baselines and with controls, at equal charged cost."""

from minihybrid.compare.comparison import YARDSTICK as YARDSTICK, Comparison as Comparison
from minihybrid.compare.methods import METHODS as METHODS
from minihybrid.compare.progress import choose_progress as choose_progress
from minihybrid.compare.report import write as write
from minihybrid.compare.study import compare as compare
from minihybrid.compare.suite import SUITES as SUITES, Suite as Suite
from minihybrid.compare.tasks import available as available, names as names
