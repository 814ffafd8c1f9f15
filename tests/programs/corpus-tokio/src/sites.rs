//! The sites: functions of their own, each in a line of its own, which is what remains of their names where the compiler has
//! made one of several. Each does something else, as those of real programs do.

use crate::fate::Fate;

macro_rules! site {
    ($name:ident) => {
        mod $name {
            pub(super) const LINE: u32 = line!();

            pub(super) async fn task(fate: crate::fate::Fate) {
                std::hint::black_box(stringify!($name));
                fate.meet().await;
            }
        }
    };
}

macro_rules! sites {
    ($($name:ident)*) => {
        static SITES: &[(&str, u32, fn(Fate))] = &[
            $((stringify!($name), $name::LINE, |fate| drop(tokio::spawn($name::task(fate))))),*
        ];
    };
}

/// A task at this site.
pub(crate) fn spawn(site: &str, fate: Fate) {
    of(site).expect("a site").2(fate);
}

/// The line of the site's function.
pub(crate) fn line(site: &str) -> Option<u32> {
    of(site).map(|site| site.1)
}

fn of(name: &str) -> Option<&'static (&'static str, u32, fn(Fate))> {
    SITES.iter().find(|site| site.0 == name)
}

sites! {
    handle_request refresh_cache run_job keep_alive
    crowd_000 crowd_001 crowd_002 crowd_003 crowd_004 crowd_005 crowd_006 crowd_007 crowd_008 crowd_009
    crowd_010 crowd_011 crowd_012 crowd_013 crowd_014 crowd_015 crowd_016 crowd_017 crowd_018 crowd_019
    crowd_020 crowd_021 crowd_022 crowd_023 crowd_024 crowd_025 crowd_026 crowd_027 crowd_028 crowd_029
    crowd_030 crowd_031 crowd_032 crowd_033 crowd_034 crowd_035 crowd_036 crowd_037 crowd_038 crowd_039
    crowd_040 crowd_041 crowd_042 crowd_043 crowd_044 crowd_045 crowd_046 crowd_047 crowd_048 crowd_049
    crowd_050 crowd_051 crowd_052 crowd_053 crowd_054 crowd_055 crowd_056 crowd_057 crowd_058 crowd_059
    crowd_060 crowd_061 crowd_062 crowd_063 crowd_064 crowd_065 crowd_066 crowd_067 crowd_068 crowd_069
    crowd_070 crowd_071 crowd_072 crowd_073 crowd_074 crowd_075 crowd_076 crowd_077 crowd_078 crowd_079
    crowd_080 crowd_081 crowd_082 crowd_083 crowd_084 crowd_085 crowd_086 crowd_087 crowd_088 crowd_089
    crowd_090 crowd_091 crowd_092 crowd_093 crowd_094 crowd_095 crowd_096 crowd_097 crowd_098 crowd_099
    crowd_100 crowd_101 crowd_102 crowd_103 crowd_104 crowd_105 crowd_106 crowd_107 crowd_108 crowd_109
    crowd_110 crowd_111 crowd_112 crowd_113 crowd_114 crowd_115 crowd_116 crowd_117 crowd_118 crowd_119
    crowd_120 crowd_121 crowd_122 crowd_123 crowd_124 crowd_125 crowd_126 crowd_127 crowd_128 crowd_129
    crowd_130 crowd_131 crowd_132 crowd_133 crowd_134 crowd_135 crowd_136 crowd_137 crowd_138 crowd_139
    crowd_140 crowd_141 crowd_142 crowd_143 crowd_144 crowd_145 crowd_146 crowd_147 crowd_148 crowd_149
    crowd_150 crowd_151 crowd_152 crowd_153 crowd_154 crowd_155 crowd_156 crowd_157 crowd_158 crowd_159
    crowd_160 crowd_161 crowd_162 crowd_163 crowd_164 crowd_165 crowd_166 crowd_167 crowd_168 crowd_169
    crowd_170 crowd_171 crowd_172 crowd_173 crowd_174 crowd_175 crowd_176 crowd_177 crowd_178 crowd_179
    crowd_180 crowd_181 crowd_182 crowd_183 crowd_184 crowd_185 crowd_186 crowd_187 crowd_188 crowd_189
    crowd_190 crowd_191 crowd_192 crowd_193 crowd_194 crowd_195 crowd_196 crowd_197 crowd_198 crowd_199
}

site!(handle_request);
site!(refresh_cache);
site!(run_job);
site!(keep_alive);
site!(crowd_000);
site!(crowd_001);
site!(crowd_002);
site!(crowd_003);
site!(crowd_004);
site!(crowd_005);
site!(crowd_006);
site!(crowd_007);
site!(crowd_008);
site!(crowd_009);
site!(crowd_010);
site!(crowd_011);
site!(crowd_012);
site!(crowd_013);
site!(crowd_014);
site!(crowd_015);
site!(crowd_016);
site!(crowd_017);
site!(crowd_018);
site!(crowd_019);
site!(crowd_020);
site!(crowd_021);
site!(crowd_022);
site!(crowd_023);
site!(crowd_024);
site!(crowd_025);
site!(crowd_026);
site!(crowd_027);
site!(crowd_028);
site!(crowd_029);
site!(crowd_030);
site!(crowd_031);
site!(crowd_032);
site!(crowd_033);
site!(crowd_034);
site!(crowd_035);
site!(crowd_036);
site!(crowd_037);
site!(crowd_038);
site!(crowd_039);
site!(crowd_040);
site!(crowd_041);
site!(crowd_042);
site!(crowd_043);
site!(crowd_044);
site!(crowd_045);
site!(crowd_046);
site!(crowd_047);
site!(crowd_048);
site!(crowd_049);
site!(crowd_050);
site!(crowd_051);
site!(crowd_052);
site!(crowd_053);
site!(crowd_054);
site!(crowd_055);
site!(crowd_056);
site!(crowd_057);
site!(crowd_058);
site!(crowd_059);
site!(crowd_060);
site!(crowd_061);
site!(crowd_062);
site!(crowd_063);
site!(crowd_064);
site!(crowd_065);
site!(crowd_066);
site!(crowd_067);
site!(crowd_068);
site!(crowd_069);
site!(crowd_070);
site!(crowd_071);
site!(crowd_072);
site!(crowd_073);
site!(crowd_074);
site!(crowd_075);
site!(crowd_076);
site!(crowd_077);
site!(crowd_078);
site!(crowd_079);
site!(crowd_080);
site!(crowd_081);
site!(crowd_082);
site!(crowd_083);
site!(crowd_084);
site!(crowd_085);
site!(crowd_086);
site!(crowd_087);
site!(crowd_088);
site!(crowd_089);
site!(crowd_090);
site!(crowd_091);
site!(crowd_092);
site!(crowd_093);
site!(crowd_094);
site!(crowd_095);
site!(crowd_096);
site!(crowd_097);
site!(crowd_098);
site!(crowd_099);
site!(crowd_100);
site!(crowd_101);
site!(crowd_102);
site!(crowd_103);
site!(crowd_104);
site!(crowd_105);
site!(crowd_106);
site!(crowd_107);
site!(crowd_108);
site!(crowd_109);
site!(crowd_110);
site!(crowd_111);
site!(crowd_112);
site!(crowd_113);
site!(crowd_114);
site!(crowd_115);
site!(crowd_116);
site!(crowd_117);
site!(crowd_118);
site!(crowd_119);
site!(crowd_120);
site!(crowd_121);
site!(crowd_122);
site!(crowd_123);
site!(crowd_124);
site!(crowd_125);
site!(crowd_126);
site!(crowd_127);
site!(crowd_128);
site!(crowd_129);
site!(crowd_130);
site!(crowd_131);
site!(crowd_132);
site!(crowd_133);
site!(crowd_134);
site!(crowd_135);
site!(crowd_136);
site!(crowd_137);
site!(crowd_138);
site!(crowd_139);
site!(crowd_140);
site!(crowd_141);
site!(crowd_142);
site!(crowd_143);
site!(crowd_144);
site!(crowd_145);
site!(crowd_146);
site!(crowd_147);
site!(crowd_148);
site!(crowd_149);
site!(crowd_150);
site!(crowd_151);
site!(crowd_152);
site!(crowd_153);
site!(crowd_154);
site!(crowd_155);
site!(crowd_156);
site!(crowd_157);
site!(crowd_158);
site!(crowd_159);
site!(crowd_160);
site!(crowd_161);
site!(crowd_162);
site!(crowd_163);
site!(crowd_164);
site!(crowd_165);
site!(crowd_166);
site!(crowd_167);
site!(crowd_168);
site!(crowd_169);
site!(crowd_170);
site!(crowd_171);
site!(crowd_172);
site!(crowd_173);
site!(crowd_174);
site!(crowd_175);
site!(crowd_176);
site!(crowd_177);
site!(crowd_178);
site!(crowd_179);
site!(crowd_180);
site!(crowd_181);
site!(crowd_182);
site!(crowd_183);
site!(crowd_184);
site!(crowd_185);
site!(crowd_186);
site!(crowd_187);
site!(crowd_188);
site!(crowd_189);
site!(crowd_190);
site!(crowd_191);
site!(crowd_192);
site!(crowd_193);
site!(crowd_194);
site!(crowd_195);
site!(crowd_196);
site!(crowd_197);
site!(crowd_198);
site!(crowd_199);
