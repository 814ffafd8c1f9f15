//! A count's past as the detectors see it, and the robust arithmetic on it.

/// A while: time in seconds since the boot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Its end.
    pub(super) at: f64,
    /// Its length.
    pub(super) width: f64,
    /// Least live count.
    pub(super) floor: f64,
    /// Last live count.
    pub(super) last: f64,
    /// Tasks spawned in it.
    pub(super) spawned: f64,
    /// Tasks ended in it.
    pub(super) finished: f64,
}

/// Whiles, oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Trace {
    pub(super) points: Vec<Point>,
}

/// Median; 0 of nothing. Sorts.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    }
}

/// Theil–Sen: the median of the slopes between all pairs of floors, per second. One outlier in four does not move it much.
pub(super) fn slope(points: &[Point]) -> f64 {
    let mut slopes = Vec::with_capacity(points.len() * points.len().saturating_sub(1) / 2);
    for (index, later) in points.iter().enumerate() {
        for earlier in &points[..index] {
            let time = later.at - earlier.at;
            if time > 0.0 {
                slopes.push((later.floor - earlier.floor) / time);
            }
        }
    }
    median(&mut slopes)
}

/// Standard deviation of the floors around the line with this slope, by the median of the distances.
pub(super) fn scatter(points: &[Point], slope: f64) -> f64 {
    let mut rests: Vec<f64> = points
        .iter()
        .map(|point| point.floor - slope * point.at)
        .collect();
    let level = median(&mut rests);
    let mut distances: Vec<f64> = rests.iter().map(|rest| (rest - level).abs()).collect();
    1.4826 * median(&mut distances)
}

/// Share of the steps in which the floor did not fall; 1 of none.
pub(super) fn not_fallen(points: &[Point]) -> f64 {
    let steps = points.len().saturating_sub(1);
    if steps == 0 {
        return 1.0;
    }
    let fallen = points
        .windows(2)
        .filter(|pair| pair[1].floor < pair[0].floor)
        .count();
    (steps - fallen) as f64 / steps as f64
}

/// The least floor of each of `parts` equal parts.
pub(super) fn floors(points: &[Point], parts: usize) -> Vec<f64> {
    let size = points.len().div_ceil(parts.max(1)).max(1);
    let parts = points.chunks(size);
    parts
        .map(|part| part.iter().map(|point| point.floor).fold(f64::INFINITY, f64::min))
        .collect()
}

/// Sum of the spawns, sum of the ends.
pub(super) fn events(points: &[Point]) -> (f64, f64) {
    points.iter().fold((0.0, 0.0), |(spawned, finished), point| {
        (spawned + point.spawned, finished + point.finished)
    })
}

/// From the beginning of the first while to the end of the last, seconds.
pub(super) fn length(points: &[Point]) -> f64 {
    match (points.first(), points.last()) {
        (Some(first), Some(last)) => last.at - first.at + first.width,
        _ => 0.0,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Whiles of a second with these floors.
    pub(in crate::detect) fn points(floors: impl IntoIterator<Item = f64>) -> Vec<Point> {
        let point = |(index, floor): (usize, f64)| Point {
            at: index as f64 + 1.0,
            width: 1.0,
            floor,
            last: floor,
            spawned: 0.0,
            finished: 0.0,
        };
        floors.into_iter().enumerate().map(point).collect()
    }

    /// The slope is that of most points, whatever a few others do.
    #[test]
    fn slope_ignores_outliers() {
        let straight = points((0..12).map(|n| 3.0 * f64::from(n)));
        assert_eq!(slope(&straight), 3.0);
        let mut spiky = straight.clone();
        spiky[3].floor = 5_000.0;
        spiky[8].floor = 0.0;
        assert!((slope(&spiky) - 3.0).abs() < 0.3, "{}", slope(&spiky));
        assert!(scatter(&spiky, 3.0) < 1.0);
        assert_eq!(
            (slope(&[]), slope(&straight[..1]), scatter(&[], 1.0)),
            (0.0, 0.0, 0.0)
        );
    }

    /// Steps that fall are counted, and parts have their least floors.
    #[test]
    fn falls_and_floors_are_those_of_the_parts() {
        let saw = points([0.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0, 1.0]);
        assert_eq!(not_fallen(&saw), 5.0 / 7.0);
        assert_eq!(floors(&saw, 4), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!((not_fallen(&[]), length(&saw)), (1.0, 8.0));
    }
}
