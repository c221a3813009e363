// --spectra: how many modes each head's token mixing has.
#pragma once

#include "flr/data/dataset.hpp"
#include "flr/models/model.hpp"

namespace pdebench {

/// Eigenvalues of W_dec·W_enc for every layer and head, averaged over the first test samples:
/// spectra.json ({"layers": [[[M values] of a head] of a layer]}) and spectra.svg. Prints how many
/// stand above 1e-3. Refuses models without FLARE layers. `legacy`: scores without the model's
/// scale.
void write_spectra(const std::filesystem::path& folder, const flr::models::Model<float>& model,
                   const flr::data::PointSet& test, bool legacy);

}  // namespace pdebench
