//! SQL functions of the plan. Every machine of a cluster must register them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray, UInt64Array, UInt64Builder,
};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::cast::{as_float64_array, as_int64_array, as_string_array};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use landfall_model::LatLng;
use landfall_model::cells::leaf;
use landfall_model::countries;
use landfall_model::latlng::EARTH_RADIUS_M;
use s2::metric::MIN_WIDTHMETRIC;

use crate::data::split_rules::{COAST_M, hash_fraction, is_closer_than};

const FLOAT: DataType = DataType::Float64;
const INTEGER: DataType = DataType::Int64;
const TEXT: DataType = DataType::Utf8;
const CELL: DataType = DataType::UInt64;

/// The finest S2 level whose cells are at least this wide, in metres, everywhere.
pub(crate) fn level_at_least(metres: f64) -> u64 {
    MIN_WIDTHMETRIC.max_level(metres / EARTH_RADIUS_M)
}

/// Creates all functions. They return null if an argument is null.
pub(super) fn all() -> Vec<ScalarUDF> {
    let of_place = [FLOAT, FLOAT];
    let at_level = [FLOAT, FLOAT, INTEGER];
    let cells = DataType::List(Arc::new(Field::new_list_field(CELL, true)));
    vec![
        function("longitude", &of_place, FLOAT, |columns| {
            numbers(columns.len(), |i| Ok(columns.place(0, i)?.map(|at| at.lng)))
        }),
        function("country_at", &of_place, TEXT, |columns| {
            texts(columns.len(), |i| {
                Ok(columns
                    .place(0, i)?
                    .and_then(|at| countries::at_or_near(at, COAST_M))
                    .map(|country| country.iso2.into()))
            })
        }),
        function("known_country", &[TEXT], TEXT, |columns| {
            texts(columns.len(), |i| {
                Ok(columns
                    .text(0, i)?
                    .and_then(|code| countries::by_code(&code.to_uppercase()))
                    .map(|country| country.iso2.into()))
            })
        }),
        function("cell", &at_level, CELL, |columns| {
            let cells = (0..columns.len()).map(|i| columns.cell(i)).collect::<Result<UInt64Array>>()?;
            Ok(Arc::new(cells))
        }),
        function("token", &at_level, TEXT, |columns| {
            texts(columns.len(), |i| Ok(columns.cell(i)?.map(|cell| s2::cellid::CellID(cell).to_token())))
        }),
        function("around", &at_level, cells, |columns| {
            let mut lists = ListBuilder::new(UInt64Builder::new());
            for i in 0..columns.len() {
                let cell = columns.cell(i)?.map(s2::cellid::CellID);
                if let Some(cell) = cell {
                    let mut around = cell.all_neighbors(cell.level());
                    around.push(cell);
                    around.sort_unstable();
                    around.dedup();
                    around.iter().for_each(|cell| lists.values().append_value(cell.0));
                }
                lists.append(cell.is_some());
            }
            Ok(Arc::new(lists.finish()))
        }),
        function("chance", &[INTEGER, TEXT, TEXT], FLOAT, |columns| {
            numbers(columns.len(), |i| {
                let texts = columns.text(1, i)?.zip(columns.text(2, i)?);
                Ok(columns.integer(0, i)?.zip(texts).map(|(seed, (what, name))| hash_fraction(seed, what, name)))
            })
        }),
        function("is_nearer", &[FLOAT, FLOAT, FLOAT, FLOAT, FLOAT], DataType::Boolean, |columns| {
            let is_closer_than = |i| {
                let places = columns.place(0, i)?.zip(columns.place(2, i)?);
                let near = |((a, b), metres): ((LatLng, LatLng), f64)| {
                    is_closer_than(a.to_unit_vector(), b.to_unit_vector(), metres)
                };
                Ok(places.zip(columns.number(4, i)?).map(near))
            };
            Ok(Arc::new((0..columns.len()).map(is_closer_than).collect::<Result<BooleanArray>>()?))
        }),
    ]
}

fn function(
    name: &str,
    inputs: &[DataType],
    output: DataType,
    compute: impl Fn(&Columns) -> Result<ArrayRef> + Send + Sync + 'static,
) -> ScalarUDF {
    let implementation = move |arguments: &[ColumnarValue]| {
        let columns = Columns(ColumnarValue::values_to_arrays(arguments)?);
        Ok(ColumnarValue::Array(compute(&columns)?))
    };
    create_udf(name, inputs.to_vec(), output, Volatility::Immutable, Arc::new(implementation))
}

fn numbers(len: usize, of: impl Fn(usize) -> Result<Option<f64>>) -> Result<ArrayRef> {
    Ok(Arc::new((0..len).map(of).collect::<Result<Float64Array>>()?))
}

fn texts(len: usize, of: impl Fn(usize) -> Result<Option<String>>) -> Result<ArrayRef> {
    Ok(Arc::new((0..len).map(of).collect::<Result<StringArray>>()?))
}

/// The arguments of a function: one array per argument.
struct Columns(Vec<ArrayRef>);

impl Columns {
    fn len(&self) -> usize {
        self.0[0].len()
    }

    fn number(&self, column: usize, i: usize) -> Result<Option<f64>> {
        let column: &Float64Array = as_float64_array(&self.0[column])?;
        Ok(column.is_valid(i).then(|| column.value(i)))
    }

    fn integer(&self, column: usize, i: usize) -> Result<Option<u64>> {
        let column: &Int64Array = as_int64_array(&self.0[column])?;
        Ok(column.is_valid(i).then(|| column.value(i) as u64))
    }

    fn text(&self, column: usize, i: usize) -> Result<Option<&str>> {
        let column: &StringArray = as_string_array(&self.0[column])?;
        Ok(column.is_valid(i).then(|| column.value(i)))
    }

    /// The place whose latitude and longitude are in a column and the next one.
    fn place(&self, column: usize, i: usize) -> Result<Option<LatLng>> {
        let numbers = self.number(column, i)?.zip(self.number(column + 1, i)?);
        let place = numbers.map(|(lat, lng)| LatLng::new(lat, lng)).transpose();
        place.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    /// The S2 cell of the place in the first two columns at the level in the third.
    fn cell(&self, i: usize) -> Result<Option<u64>> {
        Ok(self.place(0, i)?.zip(self.integer(2, i)?).map(|(at, level)| leaf(at).parent(level).0))
    }
}
