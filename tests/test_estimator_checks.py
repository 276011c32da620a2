import pytest
from sklearn.utils import estimator_checks

from rdlearn import PCACodec

VARIANTS = {
    "default": PCACodec(),
    "fine": PCACodec(beta=300.0),
    "target_rate": PCACodec(target_rate=4.0),
    "n_bits": PCACodec(n_bits=2),
    "standardize": PCACodec(beta=5.0, standardize=True),
    "absolute_error": PCACodec(beta=5.0, distortion="absolute_error"),
}
# Public checks that check_estimator does not yield.
UNLISTED = [
    "check_dataframe_column_names_consistency",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
]
pytestmark = [
    # The checks pass tables with and without names on purpose.
    pytest.mark.filterwarnings("ignore:X (does not have valid|has) feature names:UserWarning"),
    # Their tables have unit variance and some are constant: little is worth a bit at beta=1.
    pytest.mark.filterwarnings("ignore:The code takes:UserWarning"),
]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_check_passes_without_expected_failures(name):
    results = estimator_checks.check_estimator(VARIANTS[name], on_skip=None)
    assert len(results) > 40
    skipped = {r["check_name"] for r in results if r["status"] != "passed"}
    # Runs only where the variable SCIPY_ARRAY_API is set, and then only for array API support.
    assert skipped <= {"check_array_api_input"}


@pytest.mark.parametrize("check", UNLISTED)
@pytest.mark.parametrize("name", VARIANTS)
def test_unlisted_checks_pass(name, check):
    getattr(estimator_checks, check)("PCACodec", VARIANTS[name])
